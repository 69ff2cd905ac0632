#include "winograd_filters.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "matrix_entries.h"
#include "polyphase.h"

namespace secateur {
namespace {

// Filters of several input channels at once: what every processor adds in one instruction.
constexpr std::size_t LANES = 4;
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));

// G g, with G = (1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1): exact for integers below 2^21.
void transform_line(const Lanes (&g)[3], Lanes (&u)[4]) {
  u[0] = g[0];
  u[1] = 0.5f * ((g[0] + g[2]) + g[1]);
  u[2] = 0.5f * ((g[0] + g[2]) - g[1]);
  u[3] = g[2];
}

// With G = (1/4 0 0; -1/2 -1/2 -1/2; -1/2 1/2 -1/2; 1/8 1/4 1/2; 1/8 -1/4 1/2; 0 0 1): the thirds that rows 2 to 5 lack
// are taken of the output.
void transform_line(const Lanes (&g)[3], Lanes (&u)[6]) {
  u[0] = 0.25f * g[0];
  u[1] = -0.5f * ((g[0] + g[2]) + g[1]);
  u[2] = -0.5f * ((g[0] + g[2]) - g[1]);
  u[3] = 0.125f * ((g[0] + 4.0f * g[2]) + 2.0f * g[1]);
  u[4] = 0.125f * ((g[0] + 4.0f * g[2]) - 2.0f * g[1]);
  u[5] = g[2];
}

// The same points with five powers each, and the thirds again left to the output.
void transform_line(const Lanes (&g)[5], Lanes (&u)[6]) {
  const Lanes even = g[0] + g[2] + g[4];
  const Lanes odd = g[1] + g[3];
  const Lanes far_even = g[0] + 4.0f * g[2] + 16.0f * g[4];
  const Lanes far_odd = 2.0f * g[1] + 8.0f * g[3];
  u[0] = 0.25f * g[0];
  u[1] = -0.5f * (even + odd);
  u[2] = -0.5f * (even - odd);
  u[3] = 0.125f * (far_even + far_odd);
  u[4] = 0.125f * (far_even - far_odd);
  u[5] = g[4];
}

// Those points and two more, with the forty-fifths left to the output: G = (-1 0 0 0 0; -2 -2 -2 -2 -2; -2 2 -2 2 -2;
// 1/2 1 2 4 8; 1/2 -1 2 -4 8; 1 1/2 1/4 1/8 1/16; 1 -1/2 1/4 -1/8 1/16; 0 0 0 0 1).
void transform_line(const Lanes (&g)[5], Lanes (&u)[8]) {
  const Lanes even = g[0] + g[2] + g[4];
  const Lanes odd = g[1] + g[3];
  const Lanes far_even = 0.5f * g[0] + 2.0f * g[2] + 8.0f * g[4];
  const Lanes far_odd = g[1] + 4.0f * g[3];
  const Lanes half_even = g[0] + 0.25f * g[2] + 0.0625f * g[4];
  const Lanes half_odd = 0.5f * g[1] + 0.125f * g[3];
  u[0] = -g[0];
  u[1] = -2.0f * (even + odd);
  u[2] = -2.0f * (even - odd);
  u[3] = far_even + far_odd;
  u[4] = far_even - far_odd;
  u[5] = half_even + half_odd;
  u[6] = half_even - half_odd;
  u[7] = g[4];
}

// G g G^T of the same filter positions of several input channels; taps and points lie `step` floats apart.
template <int TAPS, int POINTS_A_LINE>
void transform_channels(const float* g, float* u, std::size_t step) {
  Lanes columns[TAPS][POINTS_A_LINE];
  for (int j = 0; j < TAPS; ++j) {
    Lanes column[TAPS];
    for (int i = 0; i < TAPS; ++i) std::memcpy(&column[i], g + static_cast<std::size_t>(i * TAPS + j) * step, sizeof(Lanes));
    transform_line(column, columns[j]);
  }
  for (int i = 0; i < POINTS_A_LINE; ++i) {
    Lanes line[TAPS];
    for (int j = 0; j < TAPS; ++j) line[j] = columns[j][i];
    Lanes row[POINTS_A_LINE];
    transform_line(line, row);
    for (int j = 0; j < POINTS_A_LINE; ++j) {
      std::memcpy(u + static_cast<std::size_t>(i * POINTS_A_LINE + j) * step, &row[j], sizeof(Lanes));
    }
  }
}

template <int SIDE, int TAPS>
WeightBlocks transform_weights(const ConvolutionShape& shape, const WeightedKernels& kernels, const Matrix& weights,
                               const LanePlan& products) {
  constexpr std::int64_t POINTS = (SIDE + TAPS - 1) * (SIDE + TAPS - 1);
  constexpr std::int64_t WEIGHTS = TAPS * TAPS;
  const auto channels = static_cast<std::size_t>(products.group_in());
  const std::size_t step = (channels + LANES - 1) / LANES * LANES;
  FullBlocks out(products, kernels.panel_channels);
  std::vector<float> line(WEIGHTS * step);
  std::vector<float> transformed(POINTS * step);
  std::vector<std::size_t> places(static_cast<std::size_t>(weights.length));
  for (std::size_t i = 0; i < places.size(); ++i) {
    const PhaseTap at = phase_tap(shape, TAPS, static_cast<std::int64_t>(i));
    places[i] = static_cast<std::size_t>(at.tap) * step + static_cast<std::size_t>(at.channel);
  }
  const auto emit = [&](std::int64_t at) {
    for (std::size_t channel = 0; channel < channels; channel += LANES) {
      transform_channels<TAPS, SIDE + TAPS - 1>(&line[channel], &transformed[channel], step);
    }
    for (std::int64_t point = 0; point < POINTS; ++point) {
      out.put(point * weights.lines + at, &transformed[static_cast<std::size_t>(point) * step]);
    }
    std::fill(line.begin(), line.end(), 0.0f);
  };
  std::int64_t current = 0;
  each_nonzero(weights, [&](std::int64_t at, std::int64_t position, std::int64_t entry) {
    for (; current < at; ++current) emit(current);  // lines without entries, too
    const std::byte* const value = static_cast<const std::byte*>(weights.values) + entry * value_bytes(weights.type);
    kernels.widen(value, weights.type, 1, &line[places[static_cast<std::size_t>(position)]]);
  });
  for (; current < weights.lines; ++current) emit(current);
  return out.take();
}

}  // namespace

WeightBlocks transform_filters(std::int64_t side, std::int64_t taps, const ConvolutionShape& shape,
                               const WeightedKernels& kernels, const Matrix& weights, const LanePlan& products) {
  if (taps == 3) {
    return side == 4 ? transform_weights<4, 3>(shape, kernels, weights, products)
                     : transform_weights<2, 3>(shape, kernels, weights, products);
  }
  return side == 4 ? transform_weights<4, 5>(shape, kernels, weights, products)
                   : transform_weights<2, 5>(shape, kernels, weights, products);
}

}  // namespace secateur
