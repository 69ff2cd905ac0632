// What a program is made of: steps that read and write memory the planner has laid out.
#pragma once

#include <cstddef>
#include <cstdint>

namespace secateur {

// Where a tensor lies. The arena holds everything between inputs and outputs; its plan is made once, outside.
enum class Space : std::uint8_t { none, arena, input, output, constant };

struct Ref {
  Space space = Space::none;
  std::int64_t index = 0;  // arena: offset in bytes, a multiple of 64; else: which input, output or constant

  explicit operator bool() const { return space != Space::none; }
};

// The memory of one call.
struct Memory {
  std::byte* arena = nullptr;
  const void* const* inputs = nullptr;
  void* const* outputs = nullptr;
  const void* const* constants = nullptr;

  template <class T>
  const T* read(Ref ref) const {
    switch (ref.space) {
      case Space::arena: return reinterpret_cast<const T*>(arena + ref.index);
      case Space::input: return static_cast<const T*>(inputs[ref.index]);
      case Space::output: return static_cast<const T*>(outputs[ref.index]);
      case Space::constant: return static_cast<const T*>(constants[ref.index]);
      case Space::none: break;
    }
    return nullptr;
  }

  template <class T>
  T* write(Ref ref) const {
    switch (ref.space) {
      case Space::arena: return reinterpret_cast<T*>(arena + ref.index);
      case Space::output: return static_cast<T*>(outputs[ref.index]);
      default: break;
    }
    return nullptr;
  }
};

// One operation, cut into items that may run at the same time and in any order. All are planned and checked when the
// program is built: running allocates nothing, checks nothing and cannot fail. What an item computes does not depend
// on the number of threads.
class Step {
 public:
  virtual ~Step() = default;
  // Independent pieces of about equal work. A step of less than some ten microseconds has one: waking threads costs
  // more.
  virtual std::int64_t items() const noexcept = 0;
  // Memory a thread needs for its own while it runs items; aligned to 64, contents undefined at the start of a range.
  virtual std::size_t scratch_bytes() const noexcept { return 0; }
  // A range, so that what two neighbouring items share (a packed tile) is made once.
  virtual void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept = 0;
};

}  // namespace secateur
