#include "program.h"

#include <array>
#include <functional>
#include <numeric>

#include "secateur/names.h"

namespace nb = nanobind;

namespace secateur::binding {
namespace {

// The arrays of one call. Few networks have more than these; they cost no allocation.
class Arrays {
 public:
  Arrays(const nb::list& list, std::int64_t expected, const secateur_program* program, bool outputs) {
    const auto count = static_cast<std::int64_t>(list.size());
    const char* what = outputs ? "outputs" : "inputs";
    if (count < expected) refuse(what, "expected " + std::to_string(expected) + " arrays, found " + std::to_string(count));
    if (count > static_cast<std::int64_t>(few_.size())) {
      many_.resize(static_cast<std::size_t>(count));
      pointers_ = many_.data();
    }
    buffers_.reserve(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
      buffers_.emplace_back(PyList_GET_ITEM(list.ptr(), i), what, outputs);
      const std::int64_t needed = i >= expected ? 0
                                  : outputs     ? secateur_program_output_bytes(program, i)
                                                : secateur_program_input_bytes(program, i);
      if (buffers_.back().bytes() < needed) {
        refuse(what, "array " + std::to_string(i) + ": expected " + std::to_string(needed) + " bytes, found " +
                         std::to_string(buffers_.back().bytes()));
      }
      pointers_[i] = buffers_.back().data();
    }
  }
  Arrays(const Arrays&) = delete;
  Arrays& operator=(const Arrays&) = delete;

  void* const* pointers() const { return pointers_; }

 private:
  [[noreturn]] static void refuse(const char* what, const std::string& why) {
    throw nb::value_error((std::string(what) + ": " + why).c_str());
  }

  std::vector<Buffer> buffers_;
  std::array<void*, 16> few_;
  std::vector<void*> many_;
  void** pointers_ = few_.data();
};

// Calls run(inputs, outputs) without the interpreter's lock.
template <class Run>
void with_arrays(const secateur_program* program, const nb::list& inputs, const nb::list& outputs, Run run) {
  const Arrays in(inputs, secateur_program_inputs(program), program, false);
  const Arrays out(outputs, secateur_program_outputs(program), program, true);
  secateur_status status = SECATEUR_OK;
  {
    const nb::gil_scoped_release unlocked;
    status = run(in.pointers(), out.pointers());
  }
  check(status);
}

void expect_repeats(int repeats) {
  if (repeats < 1) throw nb::value_error(("repeats: expected at least 1, found " + std::to_string(repeats)).c_str());
}

}  // namespace

Program::Program(const std::optional<std::string>& isa) : isa_(find_isa(isa)) {
  secateur_program* program = nullptr;
  check(secateur_program_create(isa_, &program));
  c_.reset(program);
}

std::int64_t Program::constant(nb::handle array) {
  Buffer buffer(array, "constant", false);
  std::int64_t index = 0;
  check(secateur_program_constant(c_.get(), buffer.data(), buffer.bytes(), &index));
  constants_.push_back(std::move(buffer));
  return index;
}

void Program::finish(std::int64_t arena_bytes, int threads) {
  // With the interpreter's lock: nobody may add a step meanwhile, nor fork a process in which a lock is held for ever.
  check(secateur_program_finish(c_.get(), arena_bytes, threads));
  // Weights that were packed anew need not stay in memory beside their copy.
  for (std::size_t layer = 0; layer < weights_.size(); ++layer) {
    if (secateur_program_reads_matrix(c_.get(), static_cast<std::int64_t>(layer)) == 0) weights_[layer].reset();
  }
}

std::int64_t Program::packed_bytes() const {
  std::int64_t bytes = 0;
  for (std::int64_t layer = 0; layer < secateur_program_layers(c_.get()); ++layer) {
    bytes += secateur_program_packed_bytes(c_.get(), layer);
  }
  return bytes;
}

void Program::run(nb::list inputs, nb::list outputs, int threads) const {
  with_arrays(c_.get(), inputs, outputs,
              [&](auto in, auto out) { return secateur_program_run(c_.get(), in, out, threads); });
}

void Program::run(const void* input, void* output, int threads) const {
  secateur_status status = SECATEUR_OK;
  {
    const nb::gil_scoped_release unlocked;
    status = secateur_program_run(c_.get(), &input, &output, threads);
  }
  check(status);
}

bool Program::takes(const Shape& input, const Shape& output) const {
  if (secateur_program_inputs(c_.get()) != 1 || secateur_program_outputs(c_.get()) != 1) return false;
  const auto bytes = [](const Shape& shape) {
    return std::accumulate(shape.begin(), shape.end(), static_cast<std::int64_t>(sizeof(float)), std::multiplies<>());
  };
  return secateur_program_input_bytes(c_.get(), 0) <= bytes(input) &&
         secateur_program_output_bytes(c_.get(), 0) <= bytes(output);
}

Nanoseconds Program::time(nb::list inputs, nb::list outputs, int threads, int repeats) const {
  expect_repeats(repeats);
  Nanoseconds result(static_cast<std::size_t>(repeats));
  with_arrays(c_.get(), inputs, outputs, [&](auto in, auto out) {
    return secateur_program_time(c_.get(), in, out, threads, repeats, result.data());
  });
  return result;
}

std::vector<Nanoseconds> Program::time_steps(nb::list inputs, nb::list outputs, int threads, int repeats) const {
  expect_repeats(repeats);
  const auto steps = static_cast<std::size_t>(secateur_program_steps(c_.get()));
  Nanoseconds all(steps * static_cast<std::size_t>(repeats));
  with_arrays(c_.get(), inputs, outputs, [&](auto in, auto out) {
    return secateur_program_time_steps(c_.get(), in, out, threads, repeats, all.data());
  });
  std::vector<Nanoseconds> result(steps);
  for (std::size_t i = 0; i < all.size(); ++i) result[i % steps].push_back(all[i]);
  return result;
}

Names Program::steps() const {
  Names names;
  for (std::int64_t i = 0; i < secateur_program_steps(c_.get()); ++i) {
    names.emplace_back(secateur_program_step_name(c_.get(), i));
  }
  return names;
}

Shape Program::input_bytes() const {
  Shape bytes;
  for (std::int64_t i = 0; i < secateur_program_inputs(c_.get()); ++i) {
    bytes.push_back(secateur_program_input_bytes(c_.get(), i));
  }
  return bytes;
}

Shape Program::output_bytes() const {
  Shape bytes;
  for (std::int64_t i = 0; i < secateur_program_outputs(c_.get()); ++i) {
    bytes.push_back(secateur_program_output_bytes(c_.get(), i));
  }
  return bytes;
}

}  // namespace secateur::binding
