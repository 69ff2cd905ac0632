// The non-zeros of a block of positions, one by one, over a tile of pixels held in registers.
#pragma once

#include "lanes-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

template <int ROWS, int COLUMNS>
void sparse_tile(const SparseTile& tile) {
  const float* value = tile.values;
  const std::uint8_t* index = tile.indices;
  const std::int32_t* const offsets = tile.offsets;
  const char* const pixels = reinterpret_cast<const char*>(tile.pixels);
  const std::int64_t row_step = tile.row_step;
  float* sums = tile.sums;
  for (std::int64_t channel = 0; channel < tile.channels; ++channel) {
    Vec sum[ROWS][COLUMNS];
SECATEUR_UNROLL
    for (int r = 0; r < ROWS; ++r) {
SECATEUR_UNROLL
      for (int c = 0; c < COLUMNS; ++c) sum[r][c] = tile.first ? set(0.0f) : load(sums + (r * COLUMNS + c) * LANES);
    }
    const float* const end = value + tile.counts[channel];
    for (; value != end; ++value, ++index) {
      const float* const pixel = reinterpret_cast<const float*>(pixels + offsets[*index]);
      const Vec weight = set(*value);
SECATEUR_UNROLL
      for (int r = 0; r < ROWS; ++r) {
SECATEUR_UNROLL
        for (int c = 0; c < COLUMNS; ++c) sum[r][c] = fma(weight, load(pixel + r * row_step + c * LANES), sum[r][c]);
      }
    }
SECATEUR_UNROLL
    for (int r = 0; r < ROWS; ++r) {
SECATEUR_UNROLL
      for (int c = 0; c < COLUMNS; ++c) store(sums + (r * COLUMNS + c) * LANES, sum[r][c]);
    }
    sums += ROWS * COLUMNS * LANES;
  }
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
