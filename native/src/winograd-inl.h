// The transforms of Winograd's F(2x2, 3x3) over lane tiles: every number is a vector, so that there is nothing to
// shuffle.
//   input   B^T d B, B^T = (1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1)
//   output  A^T m A, A^T = (1 1 1 0; 0 1 -1 -1)
#pragma once

#include "lanes-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

inline void transform_four(Vec (&d)[4]) {
  const Vec a = d[0] - d[2];
  const Vec b = d[1] + d[2];
  const Vec c = d[2] - d[1];
  d[3] = d[1] - d[3];
  d[0] = a, d[1] = b, d[2] = c;
}

void winograd_input(const WinogradInput& in) {
  for (std::int64_t channel = 0; channel < in.channels; ++channel) {
    float* out = in.tiles + channel * in.channel_step;
    for (std::int64_t row = 0; row < in.tile_rows; ++row) {
      const float* from = in.pixels + channel * in.plane + 2 * row * in.row_step;
      for (std::int64_t column = 0; column < in.tile_columns; ++column) {
        Vec d[4][4];
        SECATEUR_UNROLL
        for (int j = 0; j < 4; ++j) {
          Vec c[4];
          SECATEUR_UNROLL
          for (int i = 0; i < 4; ++i) c[i] = load(from + i * in.row_step + j * LANES);
          transform_four(c);
          SECATEUR_UNROLL
          for (int i = 0; i < 4; ++i) d[i][j] = c[i];
        }
        SECATEUR_UNROLL
        for (int i = 0; i < 4; ++i) {
          transform_four(d[i]);
          SECATEUR_UNROLL
          for (int j = 0; j < 4; ++j) store(out + (4 * i + j) * in.point_step, d[i][j]);
        }
        from += 2 * LANES;
        out += LANES;
      }
    }
  }
}

void winograd_output(const WinogradOutput& in) {
  for (std::int64_t channel = 0; channel < in.channels; ++channel) {
    const std::int64_t columns = 2 * in.tile_columns;
    float* const out = in.sums + channel * 2 * in.tile_rows * columns * LANES;
    for (std::int64_t tile = 0; tile < in.tile_rows * in.tile_columns; ++tile) {
      const float* const from = in.products + in.places[tile] + channel * in.steps[tile];
      Vec rows[2][4];
      SECATEUR_UNROLL
      for (int j = 0; j < 4; ++j) {
        const Vec a = load(from + j * in.products_step);
        const Vec b = load(from + (4 + j) * in.products_step);
        const Vec c = load(from + (8 + j) * in.products_step);
        const Vec d = load(from + (12 + j) * in.products_step);
        rows[0][j] = a + (b + c);
        rows[1][j] = (b - c) - d;
      }
      float* const at = out + (tile / in.tile_columns * 2 * columns + tile % in.tile_columns * 2) * LANES;
      SECATEUR_UNROLL
      for (int i = 0; i < 2; ++i) {
        store(at + i * columns * LANES, rows[i][0] + (rows[i][1] + rows[i][2]));
        store(at + (i * columns + 1) * LANES, (rows[i][1] - rows[i][2]) - rows[i][3]);
      }
    }
  }
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
