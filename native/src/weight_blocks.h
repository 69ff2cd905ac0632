// The weights of a convolution as its kernels walk them: group by group, block by block, panel by panel.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "aligned.h"
#include "lane_plan.h"
#include "secateur/matrix.h"

namespace secateur {

// A panel is one output channel or several that share loads. A run is what a panel has in a block: positions (one byte
// each, within the block), and for each as many values as the panel has channels. Five bytes a non-zero in float32.
struct WeightBlocks {
  ValueType type = ValueType::float32;
  std::int64_t panel_channels = 1;
  std::int64_t panels = 0;  // of a group
  std::int64_t blocks = 0;
  std::int64_t slice_panels = 1;
  std::int64_t slices = 1;
  std::int64_t longest = 0;  // values of the longest (block, slice)
  AlignedBytes storage;
  std::size_t bytes = 0;
  const std::byte* values = nullptr;
  const std::uint8_t* indices = nullptr;
  const std::uint16_t* counts = nullptr;  // [groups][blocks][panels]
  const std::uint32_t* starts = nullptr;  // [groups][blocks][slices] and the end: positions before it

  std::int64_t start_index(std::int64_t group, std::int64_t block, std::int64_t slice) const {
    return (group * blocks + block) * slices + slice;
  }
};

// Weights of which all positions hold something, put line by line; no matrix of them is needed beside.
class FullBlocks {
 public:
  FullBlocks(const LanePlan& plan, std::int64_t panel_channels);
  // `row` has a value for each of the plan's positions.
  void put(std::int64_t line, const float* row) noexcept;
  WeightBlocks take() { return std::move(out_); }

 private:
  WeightBlocks out_;
  std::int64_t block_, positions_, group_out_;
  float* values_ = nullptr;
  std::vector<std::uint32_t> run_starts_;
};

WeightBlocks pack_weights(const Matrix& matrix, const LanePlan& plan, std::int64_t panel_channels);

// Of a matrix whose lines are the plan's positions. There is one group.
WeightBlocks pack_columns(const Matrix& matrix, const LanePlan& plan, std::int64_t panel_channels);

}  // namespace secateur
