// Weights times a packed band of lane tiles: what convolutions and batched linear layers have in common.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "aligned.h"
#include "lane_plan.h"
#include "weight_blocks.h"

namespace secateur {

struct LayerRefs {
  Ref source, output, bias, residual;
  Activation activation;
};

// What the micro-kernels need to know of a band of some height.
struct Band {
  BandLayout layout;
  std::vector<std::int64_t> sums;                 // floats before each tile's
  std::vector<std::vector<std::int32_t>> groups;  // of each tile: bytes from its first pixel to each of its pixels
  std::vector<std::int32_t> places, steps;        // floats to each pixel's sums, and from channel to channel
  std::int64_t floats = 0;
};

class LaneProduct {
 public:
  LaneProduct(const WeightedKernels& kernels, const LanePlan& plan, const Matrix& weights, bool panel);
  // Of packed weights, whose panels have the channels that the kernels want.
  LaneProduct(const WeightedKernels& kernels, const LanePlan& plan, WeightBlocks weights, bool panel);

  const WeightedKernels& kernels() const noexcept { return kernels_; }
  const LanePlan& plan() const noexcept { return plan_; }
  // Of full height, and the last of a region.
  const Band& band(std::int64_t index) const noexcept { return index + 1 < plan_.bands() ? full_ : last_; }
  std::size_t bytes() const noexcept {
    return weights_.bytes + offsets_.size() * sizeof(std::int32_t) + block_offsets_.size() * sizeof(std::uint16_t);
  }

  std::size_t packed_floats() const noexcept {
    return static_cast<std::size_t>(plan_.group_in() * plan_.plane() * plan_.lanes);
  }
  std::size_t sums_floats() const noexcept { return static_cast<std::size_t>(std::max(full_.floats, last_.floats)); }

  // What a thread needs beside the packed band and the sums.
  struct Scratch {
    float* widened;
    std::uint16_t* offsets;
  };
  Scratch carve(Carver& parts) const noexcept;

  // The sums of one slice of output channels of one group over one packed band.
  void multiply(std::int64_t group, std::int64_t slice, const Band& band, const float* packed, float* sums,
                const Scratch& scratch) const noexcept;

 private:
  std::int64_t tile_start(const LaneTile& tile) const noexcept {
    return (tile.row * plan_.row_step() + tile.column) * plan_.lanes;
  }

  const WeightedKernels& kernels_;
  const LanePlan plan_;
  const bool panel_;
  const WeightBlocks weights_;
  const Band full_;
  const Band last_;
  const std::vector<std::int32_t> offsets_;         // panels
  const std::vector<std::uint16_t> block_offsets_;  // else
};

}  // namespace secateur
