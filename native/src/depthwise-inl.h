// One input channel, one filter, one row of the output.
#pragma once

#include "lanes-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

template <int VECTORS>
inline void depthwise_vectors(const DepthwiseRow& row, std::int64_t first) {
  Vec sum[VECTORS];
  SECATEUR_UNROLL
  for (int v = 0; v < VECTORS; ++v) sum[v] = set(0.0f);
  for (std::int64_t tap = 0; tap < row.taps; ++tap) {
    const Vec weight = set(row.weights[tap]);
    const float* const from = row.plane + row.offsets[tap] + first;
    SECATEUR_UNROLL
    for (int v = 0; v < VECTORS; ++v) sum[v] = fma(weight, load(from + v * LANES), sum[v]);
  }
  SECATEUR_UNROLL
  for (int v = 0; v < VECTORS; ++v) store(row.sums + first + v * LANES, sum[v]);
}

void depthwise_row(const DepthwiseRow& row) {
  std::int64_t first = 0;
  for (; first + 4 * LANES <= row.count; first += 4 * LANES) depthwise_vectors<4>(row, first);
  for (; first + 2 * LANES <= row.count; first += 2 * LANES) depthwise_vectors<2>(row, first);
  // The last vector may reach beyond the row: both ends have the room.
  for (; first < row.count; first += LANES) depthwise_vectors<1>(row, first);
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
