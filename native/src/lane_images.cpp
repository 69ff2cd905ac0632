#include "lane_images.h"

#include <algorithm>
#include <cstring>

namespace secateur {
namespace {

// Channels that are packed row by row. The rows of one follow each other in memory, and channels lie pages apart: of a few
// at a time the processor sees what comes next.
constexpr std::int64_t TOGETHER = 8;

}  // namespace

LaneImages::LaneImages(const WeightedKernels& kernels, const LanePlan& plan, const LayerRefs& refs)
    : kernels_(kernels), plan_(plan), refs_(refs), places_(plan.places()), used_rows_(plan.used_rows()),
      kept_rows_(plan.kept_rows()) {
  if (!plan.shape.pooled()) return;
  const std::int64_t windows = plan.band_windows();
  for (std::int64_t i = 0; i < windows; ++i) maxima_places_.push_back(static_cast<std::int32_t>(i * plan.lanes));
  maxima_steps_.assign(maxima_places_.size(), static_cast<std::int32_t>(windows * plan.lanes));
}

std::int64_t LaneImages::units() const noexcept {
  return plan_.image_groups() * plan_.bands() * plan_.shape.groups * plan_.slices();
}

LaneUnit LaneImages::unit(std::int64_t item) const noexcept {
  LaneUnit unit;
  unit.slice = item % plan_.slices();
  item /= plan_.slices();
  unit.band = item % plan_.bands();
  item /= plan_.bands();
  unit.group = item % plan_.shape.groups;
  unit.images = item / plan_.shape.groups;
  return unit;
}

std::size_t LaneImages::maxima_floats() const noexcept {
  return maxima_places_.size() * static_cast<std::size_t>(plan_.slice * plan_.lanes);
}

std::int64_t LaneImages::channels(const LaneUnit& unit) const noexcept {
  return std::min(plan_.slice, plan_.group_out() - unit.slice * plan_.slice);
}

std::int64_t LaneImages::band_rows(const LaneUnit& unit) const noexcept {
  return std::min(plan_.band_rows, plan_.region_rows - unit.band * plan_.band_rows);
}

std::int64_t LaneImages::image_of(const LaneUnit& unit, std::int64_t lane) const noexcept {
  return unit.images * plan_.lane_images + lane / (plan_.lane_rows * plan_.lane_columns);
}

std::int64_t LaneImages::row_of(const LaneUnit& unit, std::int64_t lane) const noexcept {
  return lane / plan_.lane_columns % plan_.lane_rows * plan_.region_rows + unit.band * plan_.band_rows;
}

void LaneImages::pack(const LaneUnit& unit, const LaneUnit& before, const Memory& memory, float* packed) const noexcept {
  const ConvolutionShape& shape = plan_.shape;
  const std::int64_t plane = shape.in_height * shape.in_width;
  PackLines lines{};
  lines.count = static_cast<std::int64_t>(places_.size());
  lines.places = places_.data();
  lines.source_step = plane;
  lines.packed_step = plan_.plane() * plan_.lanes;
  // What does not depend on the row: divisions, which cost small layers a tenth of their time.
  std::int64_t first_rows[MAX_LANES], widths[MAX_LANES], starts[MAX_LANES];
  for (std::int64_t lane = 0; lane < plan_.lanes; ++lane) {
    const std::int64_t image = image_of(unit, lane);
    const std::int64_t x = lane % plan_.lane_columns * plan_.region_columns * shape.stride_width - shape.pad_left;
    first_rows[lane] = row_of(unit, lane) * shape.stride_height - shape.pad_top;
    widths[lane] = image < shape.images ? std::min(lines.count, shape.in_width - x) : 0;
    starts[lane] = (image * shape.in_channels + unit.group * plan_.group_in()) * plane + x;
    lines.begin[lane] = std::max<std::int64_t>(0, -x);
  }
  const std::int64_t rows = plan_.window_rows(band_rows(unit));
  const std::int64_t row_floats = plan_.pitch() * plan_.lanes;
  const std::int64_t kept = unit.is_below(before) ? std::min(kept_rows_, rows) : 0;
  const std::int64_t down = plan_.band_rows * shape.stride_height * row_floats;
  for (std::int64_t channel = 0; channel < plan_.group_in(); channel += TOGETHER) {
    lines.channels = std::min(TOGETHER, plan_.group_in() - channel);
    lines.source = memory.read<float>(refs_.source) + channel * plane;
    for (std::int64_t c = channel; kept > 0 && c < channel + lines.channels; ++c) {
      float* const to = packed + c * lines.packed_step;
      std::memmove(to, to + down, static_cast<std::size_t>(kept * row_floats) * sizeof(float));
    }
    for (std::int64_t row = kept; row < rows; ++row) {
      if (!used_rows_[static_cast<std::size_t>(row)]) continue;
      for (std::int64_t lane = 0; lane < plan_.lanes; ++lane) {
        const std::int64_t y = first_rows[lane] + row;
        lines.end[lane] = y >= 0 && y < shape.in_height ? widths[lane] : 0;
        lines.starts[lane] = starts[lane] + y * shape.in_width;
      }
      lines.packed = packed + channel * lines.packed_step + row * row_floats;
      kernels_.pack(lines);
    }
  }
}

LaneSums LaneImages::pool(const LaneUnit& unit, const Memory& memory, const LaneSums& sums,
                          float* maxima) const noexcept {
  const ConvolutionShape& shape = plan_.shape;
  const float* const bias = memory.read<float>(refs_.bias);
  PoolBand band{};
  band.sums = sums.floats;
  band.places = sums.places;
  band.steps = sums.steps;
  band.channels = channels(unit);
  band.rows = band_rows(unit) / shape.pool_height;
  band.columns = plan_.region_columns / shape.pool_width;
  band.window_height = shape.pool_height;
  band.window_width = shape.pool_width;
  band.biases = bias == nullptr ? nullptr : bias + unit.group * plan_.group_out() + unit.slice * plan_.slice;
  band.pooled = maxima;
  band.pooled_step = plan_.band_windows() * plan_.lanes;
  band.activation = refs_.activation;
  kernels_.pool(band);
  return {maxima, maxima_places_.data(), maxima_steps_.data()};
}

void LaneImages::finish(const LaneUnit& unit, const Memory& memory, const LaneSums& sums, float* maxima) const noexcept {
  const ConvolutionShape& shape = plan_.shape;
  const bool pooled = shape.pooled();
  const LaneSums from = pooled ? pool(unit, memory, sums, maxima) : sums;
  const std::int64_t height = shape.pooled_height();
  const std::int64_t width = shape.pooled_width();
  const std::int64_t columns = plan_.region_columns / shape.pool_width;
  // With whole rows in a lane, the rows of a band follow each other in the output, too.
  const bool whole = plan_.lane_columns == 1;
  const std::int64_t band = band_rows(unit) / shape.pool_height;
  const std::int64_t runs = whole ? 1 : band;
  const std::int64_t rows = whole ? band : 1;  // of a run
  const std::int64_t pixels = rows * columns;
  // What does not depend on the channel: divisions, which cost small layers a tenth of their time.
  std::int64_t to[MAX_LANES], counts[MAX_TILE_ROWS][MAX_LANES];
  for (std::int64_t lane = 0; lane < plan_.lanes; ++lane) {
    const std::int64_t image = image_of(unit, lane);
    const std::int64_t y = row_of(unit, lane) / shape.pool_height;
    const std::int64_t x = lane % plan_.lane_columns * columns;
    to[lane] = (image * shape.out_channels * height + y) * width + x;
    // Regions may be wider than the output, and higher, where they were rounded up.
    const std::int64_t wide = image < shape.images ? std::clamp<std::int64_t>(width - x, 0, columns) : 0;
    for (std::int64_t run = 0; run < runs; ++run) {
      counts[run][lane] = std::clamp<std::int64_t>(height - y - run, 0, rows) * wide;
    }
  }
  FinishLanes lines{};
  lines.sums = from.floats;
  lines.count = pixels;
  lines.to = to;
  // Maxima are finished: they take no activation, and a bias of -0 leaves every number what it is.
  if (!pooled) lines.activation = refs_.activation;
  const float* const bias = pooled ? nullptr : memory.read<float>(refs_.bias);
  const float no_bias = pooled ? -0.0f : 0.0f;
  const float* const residual = memory.read<float>(refs_.residual);
  float* const output = memory.write<float>(refs_.output);
  for (lines.channel = 0; lines.channel < channels(unit); ++lines.channel) {
    const std::int64_t out = unit.group * plan_.group_out() + unit.slice * plan_.slice + lines.channel;
    lines.bias = bias == nullptr ? no_bias : bias[out];
    for (std::int64_t run = 0; run < runs; ++run) {
      const std::int64_t at = (out * height + run) * width;
      lines.places = from.places + run * pixels;
      lines.steps = from.steps + run * pixels;
      lines.counts = counts[run];
      lines.output = output + at;
      lines.residual = residual == nullptr ? nullptr : residual + at;
      kernels_.finish_lanes(lines);
    }
  }
}

}  // namespace secateur
