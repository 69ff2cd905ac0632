// Calls of tiny networks: what to run an array with, known from one that was like it.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <vector>

#include "program.h"

namespace secateur::binding {

// Programs of one input and one output, float32 both, by the input's shape. In Python the look-up, the checks and the new
// array took a microsecond, eight times as long as a layer of a thousand weights.
class KnownCalls {
 public:
  void add(nanobind::object program, const Shape& input, const Shape& output);
  void clear() { calls_.clear(); }
  // None where the array is not like any that was added: no exact, plain, float32 array of such a shape.
  nanobind::object run(nanobind::handle array, int threads) const;

 private:
  struct Call {
    nanobind::object owner;
    const Program* program;
    std::vector<std::intptr_t> input, output;  // shapes
  };
  std::vector<Call> calls_;
};

// NumPy's own interface, once in a process and before any call.
void import_numpy();

}  // namespace secateur::binding
