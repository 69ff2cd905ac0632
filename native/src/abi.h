// What the files behind secateur.h share.
#pragma once

#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "secateur/matrix.h"
#include "secateur/program.h"
#include "secateur/secateur.h"
#include "secateur/steps.h"
#include "sizes.h"

struct secateur_program {
  explicit secateur_program(secateur::Isa isa) : program(isa) {}
  secateur::Program program;
};

namespace secateur::abi {

secateur_status fail(secateur_status status, const char* message) noexcept;

// Runs what may throw; no exception crosses into C.
template <class Body>
secateur_status guarded(Body body) noexcept {
  try {
    body();
    return SECATEUR_OK;
  } catch (const std::invalid_argument& e) {
    return fail(SECATEUR_INVALID, e.what());
  } catch (const std::bad_alloc&) {
    return fail(SECATEUR_MEMORY, "there is no more memory");
  } catch (const std::length_error&) {
    return fail(SECATEUR_MEMORY, "there is no more memory");
  } catch (const std::system_error& e) {
    return fail(SECATEUR_MEMORY, e.what());
  } catch (const std::exception& e) {
    return fail(SECATEUR_FAILED, e.what());
  } catch (...) {
    return fail(SECATEUR_FAILED, "an unknown failure");
  }
}

// The last enumerator is `last`.
template <class Kind>
Kind kind_of(int kind, Kind last, const char* what) {
  require(0 <= kind && kind <= static_cast<int>(last), std::string(what) + ": expected 0 to " +
                                                           std::to_string(static_cast<int>(last)) + ", found " +
                                                           std::to_string(kind));
  return static_cast<Kind>(kind);
}

inline Ref ref(secateur_ref r) { return {kind_of(r.space, Space::constant, "space"), r.index}; }

inline Matrix view(const secateur_matrix& m) {
  return {kind_of(m.layout, LayoutKind::index16, "layout"),
          kind_of(m.type, ValueType::bfloat16, "type"),
          m.lines,
          m.length,
          m.entries,
          m.values,
          m.indices,
          m.starts};
}

inline Activation activation(secateur_activation a) {
  return {kind_of(a.kind, ActivationKind::absolute, "activation"), a.alpha, a.beta};
}

inline Shape shape(secateur_shape s) { return Shape(s.sizes, s.sizes + s.rank); }

// A step with what it touches.
struct Planned {
  std::string name;
  std::unique_ptr<Step> step;
  std::vector<Use> reads, writes;
};

// Puts in what `plan` makes; what that has to complain of gets the kind of step before it.
template <class Plan>
secateur_status add(secateur_program* program, const char* kind, Plan plan) noexcept {
  return guarded([&] {
    try {
      Planned p = plan(program->program.isa());
      program->program.add(std::move(p.step), std::move(p.name), p.reads, p.writes);
    } catch (const std::invalid_argument& e) {
      throw std::invalid_argument(std::string(kind) + ": " + e.what());
    }
  });
}

inline Use use(Ref r, std::int64_t count) { return {r, floats(count)}; }

}  // namespace secateur::abi
