// The transforms of Winograd's F(2x2, 3x3), F(4x4, 3x3), F(2x2, 5x5) and F(4x4, 5x5) over vectors of tiles. The second and
// the third have their six points in common, 0, 1, -1, 2, -2 and infinity; the last has 1/2 and -1/2 besides.
//   input   B^T d B
//     2x2, 3x3   B^T = (1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1)
//     six points B^T = (4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0; 0 4 0 -5 0 1)
//     eight      B^T = (-1 0 21/4 0 -21/4 0 1 0; 0 1 1 -17/4 -17/4 1 1 0; 0 -1 1 17/4 -17/4 -1 1 0;
//                       0 1/2 1/4 -5/2 -5/4 2 1 0; 0 -1/2 1/4 5/2 -5/4 -2 1 0;
//                       0 2 4 -5/2 -5 1/2 1 0; 0 -2 4 5/2 -5 -1/2 1 0; 0 -1 0 21/4 0 -21/4 0 1)
//   output  A^T m A
//     2x2, 3x3   A^T = (1 1 1 0; 0 1 -1 -1)
//     4x4, 3x3   A^T = (3 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 3) / 3
//     2x2, 5x5   A^T = (3 1 1 1 1 0; 0 1 -1 2 -2 3) / 3
//     4x4, 5x5   A^T = (45 5 5 1 1 32 32 0; 0 5 -5 2 -2 16 -16 0; 0 5 5 4 4 8 8 0; 0 5 -5 8 -8 4 -4 45) / 45
// The thirds, and forty-fifths, are of the filter's transform: they are taken here, all at once, where they leave whole
// numbers whole. (Of 4x4 outputs by 5x5 filters those are small: of one digit where channels are few, -1, 0 and 1 else.)
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

inline void transform_input(Vec (&d)[8]) {
  const Vec much = set(5.25f), four = set(4.0f), two = set(2.0f), half = set(0.5f);
  const Vec first = fma(much, d[2] - d[4], d[6] - d[0]);
  const Vec last = fma(much, d[3] - d[5], d[7] - d[1]);
  const Vec even = fma(set(-4.25f), d[4], d[2] + d[6]);
  const Vec odd = fma(set(-4.25f), d[3], d[1] + d[5]);
  const Vec outer_even = fma(set(0.25f), d[2], fma(set(-1.25f), d[4], d[6]));
  const Vec inner_even = fma(four, d[2], fma(set(-5.0f), d[4], d[6]));
  const Vec middle = set(-2.5f) * d[3];
  const Vec outer_odd = fma(half, d[1], fma(two, d[5], middle));
  const Vec inner_odd = fma(two, d[1], fma(half, d[5], middle));
  d[0] = first, d[7] = last;
  d[1] = even + odd, d[2] = even - odd;
  d[3] = outer_even + outer_odd, d[4] = outer_even - outer_odd;
  d[5] = inner_even + inner_odd, d[6] = inner_even - inner_odd;
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

inline void transform_output(const Vec (&m)[8], Vec (&y)[4]) {
  const Vec most = set(45.0f), five = set(5.0f), two = set(2.0f), four = set(4.0f), eight = set(8.0f);
  const Vec near_sum = five * (m[1] + m[2]), near_difference = five * (m[1] - m[2]);
  const Vec far_sum = m[3] + m[4], far_difference = m[3] - m[4];
  const Vec half_sum = m[5] + m[6], half_difference = m[5] - m[6];
  y[0] = fma(most, m[0], fma(set(32.0f), half_sum, near_sum + far_sum));
  y[1] = fma(set(16.0f), half_difference, fma(two, far_difference, near_difference));
  y[2] = fma(eight, half_sum, fma(four, far_sum, near_sum));
  y[3] = fma(most, m[7], fma(four, half_difference, fma(eight, far_difference, near_difference)));
}

void split_line(const float* from, std::int64_t stride, std::int64_t count, float* to, std::int64_t to_step) {
  for (std::int64_t i = 0; i < count; i += LANES) {
    const float* const p = from + stride * i;
    if (stride == 2) {
      store(to + i, load_even(p));
      store(to + to_step + i, load_even(p + 1));
    } else if (stride == 4) {
      Vec c[4] = {load(p), load(p + LANES), load(p + 2 * LANES), load(p + 3 * LANES)};
      deinterleave(c);
      SECATEUR_UNROLL
      for (int k = 0; k < 4; ++k) store(to + k * to_step + i, in_order(c[k]));
    } else {
      for (std::int64_t k = 0; k < stride; ++k) {
        for (std::int64_t lane = 0; lane < LANES; ++lane) to[k * to_step + i + lane] = p[stride * lane + k];
      }
    }
  }
}

inline void copy_line(const float* from, float* to, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + LANES <= count; i += LANES) store(to + i, load(from + i));
  if (i < count) store_part(to + i, count - i, load_part(from + i, count - i));
}

template <int OUT, int TAPS, bool EIGHTS>
void winograd_input(const WinogradInput& in) {
  constexpr int SIDE = OUT + TAPS - 1;
  constexpr int SHIFTS = (SIDE + OUT - 1) / OUT;
  for (std::int64_t channel = 0; channel < in.channels; ++channel) {
    const float* const source = in.source + channel * in.source_step;
    for (std::int64_t i = 0; i < in.copy_count; ++i) {
      copy_line(source + in.copies[i].from, in.lines + in.copies[i].to, in.copies[i].count);
    }
    for (std::int64_t vector = 0; vector < in.vectors; ++vector) {
      const float* const from = in.lines + vector * OUT * LANES;
      Vec d[SIDE][SIDE];
      SECATEUR_UNROLL
      for (int i = 0; i < SIDE; ++i) {
        SECATEUR_UNROLL
        for (int shift = 0; shift < SHIFTS; ++shift) {
          Vec c[OUT];
          SECATEUR_UNROLL
          for (int k = 0; k < OUT; ++k) c[k] = load(from + (i * SHIFTS + shift) * in.line_step + k * LANES);
          deinterleave(c);
          SECATEUR_UNROLL
          for (int k = 0; k < OUT; ++k) {
            if (shift * OUT + k < SIDE) d[i][shift * OUT + k] = c[k];
          }
        }
        transform_input(d[i]);
      }
      float* const out = in.tiles + channel * in.channel_step + vector * (EIGHTS ? LANES / 8 * in.eight_step : LANES);
      SECATEUR_UNROLL
      for (int j = 0; j < SIDE; ++j) {
        Vec c[SIDE];
        SECATEUR_UNROLL
        for (int i = 0; i < SIDE; ++i) c[i] = d[i][j];
        transform_input(c);
        SECATEUR_UNROLL
        for (int i = 0; i < SIDE; ++i) {
          float* const to = out + (SIDE * i + j) * in.point_step;
          EIGHTS ? store_eights(to, in.eight_step, c[i]) : store(to, c[i]);
        }
      }
    }
  }
}

// What the output's transform leaves to be divided by, of tiles of so many points a side.
constexpr float divisor(int side) { return side == 4 ? 1.0f : side == 6 ? 9.0f : 2025.0f; }

// A quotient, rounded once: a division of vectors takes 16 cycles, and this three operations.
template <int SIDE>
inline Vec divided(Vec x) {
  if constexpr (divisor(SIDE) == 1.0f) return x;
  const Vec reciprocal = set(1.0f / divisor(SIDE));
  const Vec quotient = x * reciprocal;
  return fma(fma(set(-divisor(SIDE)), quotient, x), reciprocal, quotient);
}

// The filters' side of 4x4 outputs, without the thirds: G = (1/4 0 0; -1/2 -1/2 -1/2; -1/2 1/2 -1/2; 1/8 1/4 1/2;
// 1/8 -1/4 1/2; 0 0 1).
inline void transform_filter(const Vec (&g)[3], Vec (&u)[6]) {
  const Vec quarter = set(0.25f), minus_half = set(-0.5f), eighth = set(0.125f), half = set(0.5f);
  const Vec near_even = minus_half * (g[0] + g[2]), near_odd = minus_half * g[1];
  const Vec far_even = fma(half, g[2], eighth * g[0]), far_odd = quarter * g[1];
  u[0] = quarter * g[0];
  u[1] = near_even + near_odd, u[2] = near_even - near_odd;
  u[3] = far_even + far_odd, u[4] = far_even - far_odd;
  u[5] = g[2];
}

void streamed_filters(const StreamedFilters& in) {
  for (std::int64_t channel = 0; channel < in.channels; ++channel) {
    const float* const from = in.filters + channel * 9 * LANES;
    Vec columns[3][6];
    SECATEUR_UNROLL
    for (int j = 0; j < 3; ++j) {
      const Vec g[3] = {load(from + j * LANES), load(from + (3 + j) * LANES), load(from + (6 + j) * LANES)};
      transform_filter(g, columns[j]);
    }
    float* const to = in.transformed + channel * in.channel_step;
    SECATEUR_UNROLL
    for (int i = 0; i < 6; ++i) {
      const Vec g[3] = {columns[0][i], columns[1][i], columns[2][i]};
      Vec u[6];
      transform_filter(g, u);
      SECATEUR_UNROLL
      for (int j = 0; j < 6; ++j) store(to + (6 * i + j) * in.point_step, u[j]);
    }
  }
}

// Where deinterleave() puts tiles of a vector, the other way round.
constexpr std::int64_t tile_of_lane(std::int64_t lane) { return LANES / 4 * (lane % 4) + lane / 4; }

void streamed_output(const StreamedOutput& in) {
  for (std::int64_t place = 0; place < in.tiles; ++place) {
    const float* const from = in.products + place * in.tile_step;
    Vec rows[4][6];
    SECATEUR_UNROLL
    for (int j = 0; j < 6; ++j) {
      Vec m[6];
      SECATEUR_UNROLL
      for (int i = 0; i < 6; ++i) m[i] = load(from + (6 * i + j) * in.products_step);
      Vec y[4];
      transform_output(m, y);
      SECATEUR_UNROLL
      for (int i = 0; i < 4; ++i) rows[i][j] = y[i];
    }
    float* const at = in.lines + (place / LANES * LANES + tile_of_lane(place % LANES)) * 4;
    SECATEUR_UNROLL
    for (int i = 0; i < 4; ++i) {
      Vec y[4];
      transform_output(rows[i], y);
      SECATEUR_UNROLL
      for (int j = 0; j < 4; ++j) y[j] = divided<6>(y[j]);
      // Four numbers of each channel: of channels k, k + 4, ... in vector k.
      interleave(y);
      SECATEUR_UNROLL
      for (int k = 0; k < 4; ++k) store_fours(at + (4 * k + i) * in.line_step, 16 * in.line_step, y[k]);
    }
  }
}

template <int OUT, int TAPS>
void winograd_output(const WinogradOutput& in) {
  constexpr int SIDE = OUT + TAPS - 1;
  for (std::int64_t vector = 0; vector < in.vectors; ++vector) {
    const float* const from = in.products + in.places[vector] + in.channel * in.steps[vector];
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
    float* const at = in.lines + vector * OUT * LANES;
    SECATEUR_UNROLL
    for (int i = 0; i < OUT; ++i) {
      Vec y[OUT];
      transform_output(rows[i], y);
      SECATEUR_UNROLL
      for (int j = 0; j < OUT; ++j) y[j] = divided<SIDE>(y[j]);
      interleave(y);
      SECATEUR_UNROLL
      for (int j = 0; j < OUT; ++j) store(at + i * in.line_step + j * LANES, y[j]);
    }
  }
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
