// The non-zeros of a block of positions, one by one, over a tile of pixels held in registers.
#pragma once

#include "lanes-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

// How many entries in a row add to sums of their own: rows of few vectors would wait for their last product otherwise,
// four cycles an entry whatever the width. Sums of a convolution have one order, whatever its tiles.
constexpr int chains(int vectors) { return vectors == 1 ? 4 : vectors <= 3 ? 2 : 1; }

// Positions of a convolution are looked up beforehand; those of a row of a batch follow each other.
template <int ROWS, int COLUMNS, class Index>
void sparse_sums(const SparseTile& tile, const Index* index) {
  constexpr bool LOOKED_UP = sizeof(Index) == 2;
  constexpr int CHAINS = LOOKED_UP ? 1 : chains(COLUMNS);
  const float* value = tile.values;
  const float* const pixels = tile.pixels;
  const std::int64_t row_step = tile.row_step;
  float* sums = tile.sums;
  for (std::int64_t channel = 0; channel < tile.channels; ++channel) {
    Vec sum[CHAINS][ROWS][COLUMNS];
    SECATEUR_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      SECATEUR_UNROLL
      for (int c = 0; c < COLUMNS; ++c) {
        sum[0][r][c] = tile.first ? set(0.0f) : load(sums + (r * COLUMNS + c) * LANES);
        SECATEUR_UNROLL
        for (int k = 1; k < CHAINS; ++k) sum[k][r][c] = set(0.0f);
      }
    }
    const auto take = [&](int k) {
      const std::int64_t vectors = static_cast<std::int64_t>(index[k]) * (LOOKED_UP ? 1 : COLUMNS);
      const float* const pixel = pixels + vectors * LANES;
      // With one vector there are ports enough for all loads.
      const Vec weight = ROWS * COLUMNS > 1 ? broadcast(value + k) : set(value[k]);
      SECATEUR_UNROLL
      for (int r = 0; r < ROWS; ++r) {
        SECATEUR_UNROLL
        for (int c = 0; c < COLUMNS; ++c) sum[k][r][c] = fma(weight, load(pixel + r * row_step + c * LANES), sum[k][r][c]);
      }
    };
    const float* const end = value + tile.counts[channel];
    for (; end - value >= CHAINS; value += CHAINS, index += CHAINS) {
      SECATEUR_UNROLL
      for (int k = 0; k < CHAINS; ++k) take(k);
    }
    if constexpr (CHAINS > 1) {
      for (; value != end; ++value, ++index) take(0);
    }
    SECATEUR_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      SECATEUR_UNROLL
      for (int c = 0; c < COLUMNS; ++c) {
        Vec all = sum[0][r][c];
        SECATEUR_UNROLL
        for (int k = 1; k < CHAINS; ++k) all = all + sum[k][r][c];
        store(sums + (r * COLUMNS + c) * LANES, all);
      }
    }
    sums += ROWS * COLUMNS * LANES;
  }
}

template <int ROWS, int COLUMNS>
void sparse_tile(const SparseTile& tile) {
  sparse_sums<ROWS, COLUMNS>(tile, tile.offsets);
}

template <int VECTORS>
void sparse_rows(const SparseTile& tile) {
  sparse_sums<1, VECTORS>(tile, tile.indices);
}

// Two loads a cycle are what bounds the loop above, so the look-up of offsets is not done in it: with an index of a
// byte and a table it took 9.8 cycles a non-zero of 14 vectors instead of 8.6 (7 is what the products take).
void look_up(const std::uint8_t* indices, const std::uint16_t* table, std::int64_t count, std::uint16_t* out) {
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const std::uint64_t four = std::uint64_t{table[indices[i]]} | std::uint64_t{table[indices[i + 1]]} << 16 |
                               std::uint64_t{table[indices[i + 2]]} << 32 | std::uint64_t{table[indices[i + 3]]} << 48;
    std::memcpy(out + i, &four, sizeof four);
  }
  for (; i < count; ++i) out[i] = table[indices[i]];
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
