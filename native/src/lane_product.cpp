#include "lane_product.h"

#include <algorithm>

#include "matrix_entries.h"
#include "sizes.h"

namespace secateur {
namespace {

Band plan_band(const LanePlan& plan, std::int64_t rows, const WeightedKernels& kernels, bool panel) {
  Band band;
  band.layout = plan.band_layout(rows);
  band.places.resize(static_cast<std::size_t>(rows * plan.region_columns));
  band.steps.resize(band.places.size());
  for (const LaneTile& tile : band.layout.tiles) {
    const std::int64_t count = tile.rows * tile.columns;
    const std::int64_t room = panel ? kernels.panel_pixels : count;  // of a group
    const std::int64_t together = panel ? panel_together(count, kernels) : count;
    const std::int64_t groups = ceil_div(count, together);
    std::vector<std::int32_t> steps(static_cast<std::size_t>(groups * room));
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t row = i / tile.columns;
      const std::int64_t column = i % tile.columns;
      const std::int64_t at = i / together * room + i % together;
      steps[static_cast<std::size_t>(at)] = static_cast<std::int32_t>(floats((row * plan.row_step() + column) * plan.lanes));
      const std::size_t pixel = static_cast<std::size_t>((tile.row + row) * plan.region_columns + tile.column + column);
      band.places[pixel] =
          static_cast<std::int32_t>(band.floats + (i / together * plan.slice * room + i % together) * plan.lanes);
      band.steps[pixel] = static_cast<std::int32_t>(room * plan.lanes);
    }
    band.sums.push_back(band.floats);
    band.groups.push_back(std::move(steps));
    band.floats += groups * room * plan.slice * plan.lanes;
  }
  return band;
}

}  // namespace

LaneProduct::LaneProduct(const WeightedKernels& kernels, const LanePlan& plan, const Matrix& weights, bool panel)
    : LaneProduct(kernels, plan, pack_weights(weights, plan, panel ? kernels.panel_channels : 1), panel) {}

LaneProduct::LaneProduct(const WeightedKernels& kernels, const LanePlan& plan, WeightBlocks weights, bool panel)
    : kernels_(kernels),
      plan_(plan),
      panel_(panel),
      weights_(std::move(weights)),
      full_(plan_band(plan, plan.band_rows, kernels, panel)),
      last_(plan_band(plan, plan.region_rows - (plan.bands() - 1) * plan.band_rows, kernels, panel)),
      offsets_(panel ? plan.offsets() : std::vector<std::int32_t>{}),
      block_offsets_(panel ? std::vector<std::uint16_t>{} : plan.block_offsets()) {}

LaneProduct::Scratch LaneProduct::carve(Carver& parts) const noexcept {
  const std::size_t longest = static_cast<std::size_t>(weights_.longest);
  Scratch scratch;
  scratch.widened = parts.take<float>(weights_.type == ValueType::float32 ? 0 : longest);
  scratch.offsets = parts.take<std::uint16_t>(panel_ ? 0 : longest);
  return scratch;
}

void LaneProduct::multiply(std::int64_t group, std::int64_t slice, const Band& band, const float* packed, float* sums,
                           const Scratch& scratch) const noexcept {
  const std::int64_t first = slice * weights_.slice_panels;
  const std::int64_t panels = std::min(weights_.slice_panels, weights_.panels - first);
  const std::int64_t channels = std::min(plan_.slice, plan_.group_out() - slice * plan_.slice);
  for (std::int64_t block = 0; block < weights_.blocks; ++block) {
    const std::int64_t at = weights_.start_index(group, block, slice);
    const std::int64_t start = weights_.starts[at];
    const std::byte* const stored = weights_.values + start * weights_.panel_channels * value_bytes(weights_.type);
    const float* values = reinterpret_cast<const float*>(stored);
    const std::int64_t count = weights_.starts[at + 1] - start;
    if (weights_.type != ValueType::float32) {
      kernels_.widen(stored, weights_.type, count * weights_.panel_channels, scratch.widened);
      values = scratch.widened;
    }
    const std::uint8_t* const indices = weights_.indices + start;
    const std::uint16_t* const counts = weights_.counts + (group * weights_.blocks + block) * weights_.panels + first;
    if (panel_) {
      const std::int32_t* const offsets = offsets_.data() + block * plan_.block;
      for (std::size_t t = 0; t < band.layout.tiles.size(); ++t) {
        const std::int64_t groups = static_cast<std::int64_t>(band.groups[t].size()) / kernels_.panel_pixels;
        const LaneTile& tile = band.layout.tiles[t];
        const std::int64_t together = panel_together(tile.rows * tile.columns, kernels_);
        const std::int64_t last = tile.rows * tile.columns - (groups - 1) * together;
        kernels_.panel({values, indices, counts, offsets, packed + tile_start(tile), band.groups[t].data(), groups, together,
                        last, plan_.slice * kernels_.panel_pixels * plan_.lanes,
                        sums + band.sums[t], panels, channels, block == 0});
      }
      continue;
    }
    const float* const channel = packed + plan_.block_channel(block) * plan_.plane() * plan_.lanes;
    // Positions of a batch's rows need no look-up: they follow each other.
    const bool rows = plan_.taps() == 1 && plan_.plane() == plan_.tile_columns;
    if (!rows) kernels_.look_up(indices, block_offsets_.data() + block * plan_.block, count, scratch.offsets);
    for (std::size_t t = 0; t < band.layout.tiles.size(); ++t) {
      const LaneTile& tile = band.layout.tiles[t];
      const auto kernel = rows ? kernels_.rows[tile.columns] : kernels_.sparse[tile.rows][tile.columns];
      kernel({values, scratch.offsets, indices, counts, channel + tile_start(tile), plan_.row_step() * plan_.lanes,
              sums + band.sums[t], panels, block == 0});
    }
  }
}

}  // namespace secateur
