// The dense limit: several output channels share each load of a pixel.
#pragma once

#include "lanes-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

void panel_tile(const PanelTile& tile) {
  constexpr int P = PANEL_CHANNELS;
  constexpr int S = PANEL_PIXELS;
  const float* values = tile.values;
  const std::uint8_t* indices = tile.indices;
  const std::int32_t* const offsets = tile.offsets;
  for (std::int64_t panel = 0; panel < tile.panels; ++panel) {
    const std::int64_t count = tile.counts[panel];
    for (std::int64_t group = 0; group < tile.groups; ++group) {
      const char* pixel[S];
      SECATEUR_UNROLL
      for (int s = 0; s < S; ++s) {
        pixel[s] = reinterpret_cast<const char*>(tile.pixels) + tile.steps[group * S + s];
      }
      float* const sums = tile.sums + group * tile.group_step + panel * (P * S * LANES);
      Vec sum[P][S];
      SECATEUR_UNROLL
      for (int p = 0; p < P; ++p) {
        SECATEUR_UNROLL
        for (int s = 0; s < S; ++s) sum[p][s] = tile.first ? set(0.0f) : load(sums + (p * S + s) * LANES);
      }
      const float* value = values;
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t offset = offsets[indices[i]];
        Vec x[S];
        SECATEUR_UNROLL
        for (int s = 0; s < S; ++s) x[s] = load(reinterpret_cast<const float*>(pixel[s] + offset));
        SECATEUR_UNROLL
        for (int p = 0; p < P; ++p) {
          const Vec weight = set(value[p]);
          SECATEUR_UNROLL
          for (int s = 0; s < S; ++s) sum[p][s] = fma(weight, x[s], sum[p][s]);
        }
        value += P;
      }
      SECATEUR_UNROLL
      for (int p = 0; p < P; ++p) {
        SECATEUR_UNROLL
        for (int s = 0; s < S; ++s) store(sums + (p * S + s) * LANES, sum[p][s]);
      }
    }
    values += count * P;
    indices += count;
  }
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
