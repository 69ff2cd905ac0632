// The transforms of Winograd's F(2x2, 3x3), F(4x4, 3x3) and F(2x2, 5x5) over lane tiles: every number is a vector, so that
// there is nothing to shuffle. The latter two have their six points in common, 0, 1, -1, 2, -2 and infinity.
//   input   B^T d B
//     2x2, 3x3   B^T = (1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1)
//     the others B^T = (4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0; 0 4 0 -5 0 1)
//   output  A^T m A
//     2x2, 3x3   A^T = (1 1 1 0; 0 1 -1 -1)
//     4x4, 3x3   A^T = (3 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 3) / 3
//     2x2, 5x5   A^T = (3 1 1 1 1 0; 0 1 -1 2 -2 3) / 3
// The thirds are of the filter's transform: they are taken here, all at once, where they leave whole numbers whole.
#pragma once

#include "lanes-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

inline void transform_input(Vec (&d)[4]) {
  const Vec a = d[0] - d[2];
  const Vec b = d[1] + d[2];
  const Vec c = d[2] - d[1];
  d[3] = d[1] - d[3];
  d[0] = a, d[1] = b, d[2] = c;
}

inline void transform_input(Vec (&d)[6]) {
  const Vec four = set(4.0f);
  const Vec low = d[4] - d[2];
  const Vec odd = d[3] - d[1];
  const Vec even = d[4] - four * d[2];
  const Vec other = d[3] - four * d[1];
  const Vec twice = odd + odd;
  d[0] = four * (d[0] - d[2]) + low;
  d[5] = (d[5] - d[3]) - four * odd;
  d[1] = even + other, d[2] = even - other, d[3] = low + twice, d[4] = low - twice;
}

inline void transform_output(const Vec (&m)[4], Vec (&y)[2]) {
  y[0] = m[0] + (m[1] + m[2]);
  y[1] = (m[1] - m[2]) - m[3];
}

inline void transform_output(const Vec (&m)[6], Vec (&y)[4]) {
  const Vec three = set(3.0f), four = set(4.0f), eight = set(8.0f);
  const Vec near_sum = m[1] + m[2], near_difference = m[1] - m[2];
  const Vec far_sum = m[3] + m[4], far_difference = m[3] - m[4];
  y[0] = three * m[0] + (near_sum + far_sum);
  y[1] = near_difference + (far_difference + far_difference);
  y[2] = near_sum + four * far_sum;
  y[3] = (near_difference + eight * far_difference) + three * m[5];
}

inline void transform_output(const Vec (&m)[6], Vec (&y)[2]) {
  const Vec three = set(3.0f);
  const Vec far_difference = m[3] - m[4];
  y[0] = three * m[0] + ((m[1] + m[2]) + (m[3] + m[4]));
  y[1] = ((m[1] - m[2]) + (far_difference + far_difference)) + three * m[5];
}

template <int OUT, int TAPS>
void winograd_input(const WinogradInput& in) {
  constexpr int SIDE = OUT + TAPS - 1;
  for (std::int64_t channel = 0; channel < in.channels; ++channel) {
    float* out = in.tiles + channel * in.channel_step;
    for (std::int64_t row = 0; row < in.tile_rows; ++row) {
      const float* from = in.pixels + channel * in.plane + OUT * row * in.row_step;
      for (std::int64_t column = 0; column < in.tile_columns; ++column) {
        Vec d[SIDE][SIDE];
        SECATEUR_UNROLL
        for (int j = 0; j < SIDE; ++j) {
          Vec c[SIDE];
          SECATEUR_UNROLL
          for (int i = 0; i < SIDE; ++i) c[i] = load(from + i * in.row_step + j * LANES);
          transform_input(c);
          SECATEUR_UNROLL
          for (int i = 0; i < SIDE; ++i) d[i][j] = c[i];
        }
        SECATEUR_UNROLL
        for (int i = 0; i < SIDE; ++i) {
          transform_input(d[i]);
          SECATEUR_UNROLL
          for (int j = 0; j < SIDE; ++j) store(out + (SIDE * i + j) * in.point_step, d[i][j]);
        }
        from += OUT * LANES;
        out += LANES;
      }
    }
  }
}

template <int OUT, int TAPS>
void winograd_output(const WinogradOutput& in) {
  constexpr int SIDE = OUT + TAPS - 1;
  const Vec scale = set(9.0f);
  for (std::int64_t channel = 0; channel < in.channels; ++channel) {
    const std::int64_t columns = OUT * in.tile_columns;
    float* const out = in.sums + channel * OUT * in.tile_rows * columns * LANES;
    for (std::int64_t tile = 0; tile < in.tile_rows * in.tile_columns; ++tile) {
      const float* const from = in.products + in.places[tile] + channel * in.steps[tile];
      Vec rows[OUT][SIDE];
      SECATEUR_UNROLL
      for (int j = 0; j < SIDE; ++j) {
        Vec m[SIDE];
        SECATEUR_UNROLL
        for (int i = 0; i < SIDE; ++i) m[i] = load(from + (SIDE * i + j) * in.products_step);
        Vec y[OUT];
        transform_output(m, y);
        SECATEUR_UNROLL
        for (int i = 0; i < OUT; ++i) rows[i][j] = y[i];
      }
      float* const at = out + (tile / in.tile_columns * OUT * columns + tile % in.tile_columns * OUT) * LANES;
      SECATEUR_UNROLL
      for (int i = 0; i < OUT; ++i) {
        Vec y[OUT];
        transform_output(rows[i], y);
        SECATEUR_UNROLL
        for (int j = 0; j < OUT; ++j) {
          store(at + (i * columns + j) * LANES, SIDE == 4 ? y[j] : y[j] / scale);
        }
      }
    }
  }
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
