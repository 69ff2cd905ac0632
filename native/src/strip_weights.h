// Sparse weights for the kernel that picks inputs from registers.
#pragma once

#include <cstdint>
#include <vector>

#include "aligned.h"
#include "secateur/matrix.h"
#include "weighted_kernels.h"

namespace secateur {

// Outputs in blocks of a vector's lanes, inputs in strips of what registers hold. Within a block and strip the outputs are
// in order of how many entries they have there, the fullest first, and the entries come in steps: step t holds entry t of
// every output that has so many. Those are the first lanes of a vector, so that nothing need be filled up.
struct StripWeights {
  std::int64_t blocks = 0;
  std::int64_t strips = 0;
  ValueType type = ValueType::float32;
  std::int64_t entries = 0;
  AlignedBytes values;                     // of all steps; behind the last one a vector can be read
  std::vector<std::uint8_t> indices;       // of each value: its input, within the strip; likewise
  std::vector<std::uint8_t> widths;        // of each step: outputs
  std::vector<std::uint8_t> counts;        // [blocks][strips]: steps
  std::vector<std::uint8_t> places;        // [blocks][strips][lanes]: where in the order an output is
  std::vector<std::uint32_t> first_entry;  // [blocks]
  std::vector<std::uint32_t> first_step;   // [blocks]

  std::size_t bytes() const;
};

// Lines are outputs.
StripWeights pack_strips(const Matrix& matrix, const WeightedKernels& kernels);

}  // namespace secateur
