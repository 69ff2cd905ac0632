// The dense limit: several output channels share each load of a pixel.
#pragma once

#include "lanes-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

// Some channels times some pixels; sums of pixels lie as those of a full group do.
template <int CHANNELS, int PIXELS, int AHEAD = 0>
void panel_group(const PanelTile& tile, const float* value, const std::uint8_t* indices, std::int64_t count,
                 std::int64_t group, float* sums, const float* ahead = nullptr) {
  const char* pixel[PIXELS];
  SECATEUR_UNROLL
  for (int s = 0; s < PIXELS; ++s) {
    pixel[s] = reinterpret_cast<const char*>(tile.pixels) + tile.steps[group * PANEL_PIXELS + s];
  }
  Vec sum[CHANNELS][PIXELS];
  SECATEUR_UNROLL
  for (int p = 0; p < CHANNELS; ++p) {
    SECATEUR_UNROLL
    for (int s = 0; s < PIXELS; ++s) sum[p][s] = tile.first ? set(0.0f) : load(sums + (p * PANEL_PIXELS + s) * LANES);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t offset = tile.offsets[indices[i]];
    SECATEUR_UNROLL
    for (int s = 0; s < AHEAD; ++s) __builtin_prefetch(ahead + (i * AHEAD + s) * LANES, 0, 2);
    Vec x[PIXELS];
    SECATEUR_UNROLL
    for (int s = 0; s < PIXELS; ++s) x[s] = load(reinterpret_cast<const float*>(pixel[s] + offset));
    SECATEUR_UNROLL
    for (int p = 0; p < CHANNELS; ++p) {
      const Vec weight = set(value[p]);
      SECATEUR_UNROLL
      for (int s = 0; s < PIXELS; ++s) sum[p][s] = fma(weight, x[s], sum[p][s]);
    }
    value += PANEL_CHANNELS;
  }
  SECATEUR_UNROLL
  for (int p = 0; p < CHANNELS; ++p) {
    SECATEUR_UNROLL
    for (int s = 0; s < PIXELS; ++s) store(sums + (p * PANEL_PIXELS + s) * LANES, sum[p][s]);
  }
}

// Each panel fetches its share ahead: all at once they wait for memory, and none is fetched meanwhile.
template <int CHANNELS>
inline void last_group(const PanelTile& tile, const float* values, const std::uint8_t* indices, std::int64_t count,
                       std::int64_t panel, float* sums) {
  const std::int64_t group = tile.groups - 1;
  const std::int64_t share = (PANEL_PIXELS + tile.panels - 1) / tile.panels;
  if (tile.ahead == nullptr || panel * share >= PANEL_PIXELS) {
    return panel_group<CHANNELS, PANEL_PIXELS>(tile, values, indices, count, group, sums);
  }
  const float* const ahead = tile.ahead + panel * share * count * LANES;
  switch (share) {
    case 1: return panel_group<CHANNELS, PANEL_PIXELS, 1>(tile, values, indices, count, group, sums, ahead);
    case 2: return panel_group<CHANNELS, PANEL_PIXELS, 2>(tile, values, indices, count, group, sums, ahead);
    default: return panel_group<CHANNELS, PANEL_PIXELS, PANEL_PIXELS>(tile, values, indices, count, group, sums, ahead);
  }
}

template <int CHANNELS>
inline void panel_groups(const PanelTile& tile, const float* values, const std::uint8_t* indices, std::int64_t panel) {
  const std::int64_t count = tile.counts[panel];
  float* sums = tile.sums + panel * (PANEL_CHANNELS * PANEL_PIXELS * LANES);
  for (std::int64_t group = 0; group + 1 < tile.groups; ++group, sums += tile.group_step) {
    if (tile.together == PANEL_PIXELS) {
      panel_group<CHANNELS, PANEL_PIXELS>(tile, values, indices, count, group, sums);
    } else {
      panel_group<CHANNELS, 2>(tile, values, indices, count, group, sums);
    }
  }
  // Maps of few vectors lost up to half their time to pixels computed twice.
  if (tile.last == PANEL_PIXELS) {
    last_group<CHANNELS>(tile, values, indices, count, panel, sums);
  } else if (tile.last == 1) {
    panel_group<CHANNELS, 1>(tile, values, indices, count, tile.groups - 1, sums);
  } else {
    panel_group<CHANNELS, 2>(tile, values, indices, count, tile.groups - 1, sums);
  }
}

void panel_tile(const PanelTile& tile) {
  static_assert(PANEL_PIXELS == 2 || PANEL_PIXELS == 3, "a case above for each number of pixels");
  constexpr int HALF = PANEL_CHANNELS / 2;
  const float* values = tile.values;
  const std::uint8_t* indices = tile.indices;
  for (std::int64_t panel = 0; panel < tile.panels; ++panel) {
    if (tile.channels - panel * PANEL_CHANNELS > HALF) {
      panel_groups<PANEL_CHANNELS>(tile, values, indices, panel);
    } else {
      panel_groups<HALF>(tile, values, indices, panel);
    }
    values += tile.counts[panel] * PANEL_CHANNELS;
    indices += tile.counts[panel];
  }
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
