// Sparse weights for the kernel that picks inputs from registers.
#pragma once

#include <cstdint>
#include <vector>

#include "aligned.h"
#include "secateur/matrix.h"
#include "weighted_kernels.h"

namespace secateur {

// Outputs in blocks of a vector's lanes, inputs in strips of what registers hold. Of each block and strip the entries come
// in steps, one an output, as many as the fullest output has, in pairs: the indices of both, the values of the one and
// of the other. Fillers are zeros.
struct StripWeights {
  std::int64_t blocks = 0;
  std::int64_t strips = 0;
  std::vector<std::uint8_t> counts;   // [blocks][strips], of pairs
  std::vector<std::uint32_t> starts;  // [blocks + 1], of pairs
  AlignedBytes pairs;
  std::int64_t pair_bytes = 0;

  std::size_t bytes() const;
};

// Lines are outputs.
StripWeights pack_strips(const Matrix& matrix, const WeightedKernels& kernels);

}  // namespace secateur
