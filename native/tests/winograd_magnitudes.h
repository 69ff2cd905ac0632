// How large the numbers are that Winograd's transforms add up: what the bound of their errors is made of.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "secateur/weighted.h"

namespace secateur::testing {

// Winograd's sums reach over the whole tile of the input, whatever the output's own window, and cancel: their magnitude is
// what the algorithm computes with every number and every coefficient made positive. Tiles start at multiples of their
// side, whatever the lanes hold.
struct Transforms {
  int side;
  double factor;  // of the output
  double input[8][8], filter[8][5], output[4][8];
  int taps;
  double roundings;  // beside one a channel
};
inline constexpr Transforms SMALL_TILES = {2, 1.0,
                                    {{1, 0, 1, 0}, {0, 1, 1, 0}, {0, 1, 1, 0}, {0, 1, 0, 1}},
                                    {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}, {0, 0, 1}},
                                    {{1, 1, 1, 0}, {0, 1, 1, 1}}, 3, 12};
inline constexpr Transforms LARGE_TILES = {
    4, 1.0 / 9.0,
    {{4, 0, 5, 0, 1, 0}, {0, 4, 4, 1, 1, 0}, {0, 4, 4, 1, 1, 0}, {0, 2, 1, 2, 1, 0}, {0, 2, 1, 2, 1, 0}, {0, 4, 0, 5, 0, 1}},
    {{0.25, 0, 0}, {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}, {0.125, 0.25, 0.5}, {0.125, 0.25, 0.5}, {0, 0, 1}},
    {{3, 1, 1, 1, 1, 0}, {0, 1, 1, 2, 2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, 1, 8, 8, 3}}, 3, 20};
inline constexpr Transforms WIDE_FILTERS = {
    2, 1.0 / 9.0,
    {{4, 0, 5, 0, 1, 0}, {0, 4, 4, 1, 1, 0}, {0, 4, 4, 1, 1, 0}, {0, 2, 1, 2, 1, 0}, {0, 2, 1, 2, 1, 0}, {0, 4, 0, 5, 0, 1}},
    {{0.25}, {0.5, 0.5, 0.5, 0.5, 0.5}, {0.5, 0.5, 0.5, 0.5, 0.5}, {0.125, 0.25, 0.5, 1, 2}, {0.125, 0.25, 0.5, 1, 2},
     {0, 0, 0, 0, 1}},
    {{3, 1, 1, 1, 1, 0}, {0, 1, 1, 2, 2, 3}}, 5, 24};

inline constexpr Transforms LARGE_TILES_OF_WIDE_FILTERS = {
    4, 1.0 / 2025.0,
    {{1, 0, 5.25, 0, 5.25, 0, 1, 0}, {0, 1, 1, 4.25, 4.25, 1, 1, 0}, {0, 1, 1, 4.25, 4.25, 1, 1, 0},
     {0, 0.5, 0.25, 2.5, 1.25, 2, 1, 0}, {0, 0.5, 0.25, 2.5, 1.25, 2, 1, 0}, {0, 2, 4, 2.5, 5, 0.5, 1, 0},
     {0, 2, 4, 2.5, 5, 0.5, 1, 0}, {0, 1, 0, 5.25, 0, 5.25, 0, 1}},
    {{1}, {2, 2, 2, 2, 2}, {2, 2, 2, 2, 2}, {0.5, 1, 2, 4, 8}, {0.5, 1, 2, 4, 8}, {1, 0.5, 0.25, 0.125, 0.0625},
     {1, 0.5, 0.25, 0.125, 0.0625}, {0, 0, 0, 0, 1}},
    {{45, 5, 5, 1, 1, 32, 32, 0}, {0, 5, 5, 2, 2, 16, 16, 0}, {0, 5, 5, 4, 4, 8, 8, 0}, {0, 5, 5, 8, 8, 4, 4, 45}}, 5, 40};

using Square = std::array<double, 64>;

// |L| m |L|^T for a square m of n numbers a side and a matrix L of `lines`.
template <std::size_t N>
Square around(const double (*matrix)[N], int lines, const Square& m, int n) {
  Square half{}, out{};
  for (int i = 0; i < lines; ++i) {
    for (int j = 0; j < n; ++j) {
      for (int k = 0; k < n; ++k) half[static_cast<std::size_t>(i * n + j)] += matrix[i][k] * m[static_cast<std::size_t>(k * n + j)];
    }
  }
  for (int i = 0; i < lines; ++i) {
    for (int j = 0; j < lines; ++j) {
      for (int k = 0; k < n; ++k) out[static_cast<std::size_t>(i * lines + j)] += half[static_cast<std::size_t>(i * n + k)] * matrix[j][k];
    }
  }
  return out;
}

// As one of stride 1, written out: a tap goes to the channel of the row and the column that it begins with, modulo the
// stride. Four taps a side go as five.
struct Unstrided {
  ConvolutionShape shape;
  std::vector<float> x, w;
};
inline Unstrided unstrided(const ConvolutionShape& s, const std::vector<float>& x, const std::vector<float>& w) {
  const std::int64_t stride = s.stride_height;
  if (stride == 1) return {s, x, w};
  Unstrided u{s, {}, {}};
  ConvolutionShape& to = u.shape;
  std::int64_t taps = (s.kernel_height + stride - 1) / stride;
  if (taps == 4) taps = 5;
  to.in_channels = s.in_channels * stride * stride;
  to.kernel_height = to.kernel_width = taps;
  to.in_height = s.out_height + taps - 1, to.in_width = s.out_width + taps - 1;
  to.stride_height = to.stride_width = 1, to.pad_top = to.pad_left = 0;
  const std::int64_t group_in = s.in_channels / s.groups;
  for (std::int64_t each = 0; each < s.images * s.in_channels * stride * stride; ++each) {
    const std::int64_t plane = each / (stride * stride), a = each / stride % stride, b = each % stride;
    for (std::int64_t i = 0; i < to.in_height; ++i) {
      for (std::int64_t j = 0; j < to.in_width; ++j) {
        const std::int64_t y = i * stride + a - s.pad_top, z = j * stride + b - s.pad_left;
        const bool inside = y >= 0 && y < s.in_height && z >= 0 && z < s.in_width &&
                            y <= (s.out_height - 1) * stride - s.pad_top + s.kernel_height - 1 &&
                            z <= (s.out_width - 1) * stride - s.pad_left + s.kernel_width - 1;
        u.x.push_back(inside ? x[static_cast<std::size_t>((plane * s.in_height + y) * s.in_width + z)] : 0.0f);
      }
    }
  }
  for (std::int64_t each = 0; each < s.out_channels * group_in * stride * stride; ++each) {
    const std::int64_t plane = each / (stride * stride), a = each / stride % stride, b = each % stride;
    for (std::int64_t i = 0; i < taps; ++i) {
      for (std::int64_t j = 0; j < taps; ++j) {
        const std::int64_t y = i * stride + a, z = j * stride + b;
        const bool inside = y < s.kernel_height && z < s.kernel_width;
        u.w.push_back(inside ? w[static_cast<std::size_t>((plane * s.kernel_height + y) * s.kernel_width + z)] : 0.0f);
      }
    }
  }
  return u;
}

inline std::vector<double> winograd_magnitudes(const Transforms& t, const ConvolutionShape& s, const std::vector<float>& x,
                                        const std::vector<float>& w) {
  const std::int64_t group_in = s.in_channels / s.groups, group_out = s.out_channels / s.groups;
  const int points = t.side + t.taps - 1;
  const std::size_t weights = static_cast<std::size_t>(t.taps * t.taps);
  std::vector<Square> filters;
  for (std::int64_t each = 0; each < s.out_channels * group_in; ++each) {
    Square g{};
    for (std::size_t i = 0; i < weights; ++i) {
      g[i] = std::fabs(static_cast<double>(w[static_cast<std::size_t>(each) * weights + i]));
    }
    filters.push_back(around(t.filter, points, g, t.taps));
  }
  std::vector<double> out(static_cast<std::size_t>(s.images * s.out_channels * s.out_height * s.out_width));
  for (std::int64_t n = 0; n < s.images; ++n) {
    for (std::int64_t top = 0; top < s.out_height; top += t.side) {
      for (std::int64_t left = 0; left < s.out_width; left += t.side) {
        std::vector<Square> tiles;
        for (std::int64_t c = 0; c < s.in_channels; ++c) {
          Square d{};
          for (int i = 0; i < points; ++i) {
            for (int j = 0; j < points; ++j) {
              const std::int64_t row = top - s.pad_top + i, column = left - s.pad_left + j;
              if (row < 0 || row >= s.in_height || column < 0 || column >= s.in_width) continue;
              const std::int64_t at = ((n * s.in_channels + c) * s.in_height + row) * s.in_width + column;
              d[static_cast<std::size_t>(i * points + j)] = std::fabs(static_cast<double>(x[static_cast<std::size_t>(at)]));
            }
          }
          tiles.push_back(around(t.input, points, d, points));
        }
        for (std::int64_t o = 0; o < s.out_channels; ++o) {
          Square m{};
          for (std::int64_t c = 0; c < group_in; ++c) {
            const Square& u = filters[static_cast<std::size_t>(o * group_in + c)];
            const Square& v = tiles[static_cast<std::size_t>(o / group_out * group_in + c)];
            for (std::size_t p = 0; p < u.size(); ++p) m[p] += u[p] * v[p];
          }
          const Square y = around(t.output, t.side, m, points);
          for (std::int64_t i = 0; i < t.side && top + i < s.out_height; ++i) {
            for (std::int64_t j = 0; j < t.side && left + j < s.out_width; ++j) {
              const std::int64_t at = ((n * s.out_channels + o) * s.out_height + top + i) * s.out_width + left + j;
              out[static_cast<std::size_t>(at)] = t.factor * y[static_cast<std::size_t>(i * t.side + j)];
            }
          }
        }
      }
    }
  }
  return out;
}

}  // namespace secateur::testing
