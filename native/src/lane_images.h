// Between images and lane tiles: packing a band of the input, and finishing a band of the output.
#pragma once

#include <cstdint>
#include <vector>

#include "lane_plan.h"
#include "lane_product.h"

namespace secateur {

// One band of one group of images, and some of its output channels.
struct LaneUnit {
  std::int64_t images = -1, band = -1, group = -1, slice = -1;

  bool same_band(const LaneUnit& other) const {
    return images == other.images && band == other.band && group == other.group;
  }
  bool is_below(const LaneUnit& other) const {
    return images == other.images && band == other.band + 1 && group == other.group;
  }
};

// Where the sums of a band lie: of each pixel in floats, and from channel to channel.
struct LaneSums {
  const float* floats;
  const std::int32_t* places;
  const std::int32_t* steps;
};

class LaneImages {
 public:
  LaneImages(const WeightedKernels& kernels, const LanePlan& plan, const LayerRefs& refs);

  std::int64_t units() const noexcept;
  // Slices go fastest, so that neighbours share the packed band; then bands, which share rows.
  LaneUnit unit(std::int64_t item) const noexcept;
  std::size_t maxima_floats() const noexcept;

  // `before`: the unit whose band is packed there now, if any.
  void pack(const LaneUnit& unit, const LaneUnit& before, const Memory& memory, float* packed) const noexcept;
  // `maxima`: memory for maxima_floats(), where there are any.
  void finish(const LaneUnit& unit, const Memory& memory, const LaneSums& sums, float* maxima) const noexcept;

 private:
  LaneSums pool(const LaneUnit& unit, const Memory& memory, const LaneSums& sums, float* maxima) const noexcept;
  std::int64_t channels(const LaneUnit& unit) const noexcept;
  std::int64_t band_rows(const LaneUnit& unit) const noexcept;
  std::int64_t image_of(const LaneUnit& unit, std::int64_t lane) const noexcept;
  // The first row of the lane's part of the band, in the output.
  std::int64_t row_of(const LaneUnit& unit, std::int64_t lane) const noexcept;

  const WeightedKernels& kernels_;
  const LanePlan plan_;
  const LayerRefs refs_;
  const std::vector<std::int32_t> places_;
  const std::vector<bool> used_rows_;
  const std::int64_t kept_rows_;
  std::vector<std::int32_t> maxima_places_, maxima_steps_;  // as in LaneSums; empty without pool windows
};

}  // namespace secateur
