#include "winograd_filters.h"

#include <algorithm>
#include <vector>

#include "matrix_entries.h"

namespace secateur {
namespace {

// G g, with G = (1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1): exact for integers below 2^21.
void transform_line(const float (&g)[3], float (&u)[4]) {
  u[0] = g[0];
  u[1] = 0.5f * ((g[0] + g[2]) + g[1]);
  u[2] = 0.5f * ((g[0] + g[2]) - g[1]);
  u[3] = g[2];
}

// With G = (1/4 0 0; -1/2 -1/2 -1/2; -1/2 1/2 -1/2; 1/8 1/4 1/2; 1/8 -1/4 1/2; 0 0 1): the thirds that rows 2 to 5 lack
// are taken of the output.
void transform_line(const float (&g)[3], float (&u)[6]) {
  u[0] = 0.25f * g[0];
  u[1] = -0.5f * ((g[0] + g[2]) + g[1]);
  u[2] = -0.5f * ((g[0] + g[2]) - g[1]);
  u[3] = 0.125f * ((g[0] + 4.0f * g[2]) + 2.0f * g[1]);
  u[4] = 0.125f * ((g[0] + 4.0f * g[2]) - 2.0f * g[1]);
  u[5] = g[2];
}

// The same points with five powers each, and the thirds again left to the output.
void transform_line(const float (&g)[5], float (&u)[6]) {
  const float even = g[0] + g[2] + g[4];
  const float odd = g[1] + g[3];
  const float far_even = g[0] + 4.0f * g[2] + 16.0f * g[4];
  const float far_odd = 2.0f * g[1] + 8.0f * g[3];
  u[0] = 0.25f * g[0];
  u[1] = -0.5f * (even + odd);
  u[2] = -0.5f * (even - odd);
  u[3] = 0.125f * (far_even + far_odd);
  u[4] = 0.125f * (far_even - far_odd);
  u[5] = g[4];
}

// Those points and two more, with the forty-fifths left to the output: G = (-1 0 0 0 0; -2 -2 -2 -2 -2; -2 2 -2 2 -2;
// 1/2 1 2 4 8; 1/2 -1 2 -4 8; 1 1/2 1/4 1/8 1/16; 1 -1/2 1/4 -1/8 1/16; 0 0 0 0 1).
void transform_line(const float (&g)[5], float (&u)[8]) {
  const float even = g[0] + g[2] + g[4];
  const float odd = g[1] + g[3];
  const float far_even = 0.5f * g[0] + 2.0f * g[2] + 8.0f * g[4];
  const float far_odd = g[1] + 4.0f * g[3];
  const float half_even = g[0] + 0.25f * g[2] + 0.0625f * g[4];
  const float half_odd = 0.5f * g[1] + 0.125f * g[3];
  u[0] = -g[0];
  u[1] = -2.0f * (even + odd);
  u[2] = -2.0f * (even - odd);
  u[3] = far_even + far_odd;
  u[4] = far_even - far_odd;
  u[5] = half_even + half_odd;
  u[6] = half_even - half_odd;
  u[7] = g[4];
}

// G g G^T.
template <int TAPS, int POINTS_A_LINE>
void transform_filter(const float (&g)[TAPS * TAPS], float* u) {
  float columns[TAPS][POINTS_A_LINE];
  for (int j = 0; j < TAPS; ++j) {
    float column[TAPS];
    for (int i = 0; i < TAPS; ++i) column[i] = g[i * TAPS + j];
    transform_line(column, columns[j]);
  }
  for (int i = 0; i < POINTS_A_LINE; ++i) {
    float line[TAPS];
    for (int j = 0; j < TAPS; ++j) line[j] = columns[j][i];
    float row[POINTS_A_LINE];
    transform_line(line, row);
    std::copy_n(row, POINTS_A_LINE, u + i * POINTS_A_LINE);
  }
}

template <int SIDE, int TAPS>
WeightBlocks transform_weights(const WeightedKernels& kernels, const Matrix& weights, const LanePlan& products) {
  constexpr std::int64_t POINTS = (SIDE + TAPS - 1) * (SIDE + TAPS - 1);
  constexpr std::int64_t WEIGHTS = TAPS * TAPS;
  const std::int64_t channels = weights.length / WEIGHTS;
  FullBlocks out(products, kernels.panel_channels);
  std::vector<float> line(static_cast<std::size_t>(weights.length));
  std::vector<float> transformed(static_cast<std::size_t>(POINTS * channels));
  const auto emit = [&](std::int64_t at) {
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      float g[WEIGHTS];
      float u[POINTS];
      std::copy_n(line.begin() + channel * WEIGHTS, WEIGHTS, g);
      transform_filter<TAPS, SIDE + TAPS - 1>(g, u);
      for (std::int64_t point = 0; point < POINTS; ++point) {
        transformed[static_cast<std::size_t>(point * channels + channel)] = u[point];
      }
    }
    for (std::int64_t point = 0; point < POINTS; ++point) {
      out.put(point * weights.lines + at, &transformed[static_cast<std::size_t>(point * channels)]);
    }
    std::fill(line.begin(), line.end(), 0.0f);
  };
  std::int64_t current = 0;
  each_nonzero(weights, [&](std::int64_t at, std::int64_t position, std::int64_t entry) {
    for (; current < at; ++current) emit(current);  // lines without entries, too
    const std::byte* const value = static_cast<const std::byte*>(weights.values) + entry * value_bytes(weights.type);
    kernels.widen(value, weights.type, 1, &line[static_cast<std::size_t>(position)]);
  });
  for (; current < weights.lines; ++current) emit(current);
  return out.take();
}

}  // namespace

WeightBlocks transform_filters(std::int64_t side, std::int64_t taps, const WeightedKernels& kernels, const Matrix& weights,
                               const LanePlan& products) {
  if (taps == 3) {
    return side == 4 ? transform_weights<4, 3>(kernels, weights, products)
                     : transform_weights<2, 3>(kernels, weights, products);
  }
  return side == 4 ? transform_weights<4, 5>(kernels, weights, products)
                   : transform_weights<2, 5>(kernels, weights, products);
}

}  // namespace secateur
