#include "lane_convolution.h"

#include <algorithm>
#include <vector>

#include "matrix_entries.h"
#include "weight_blocks.h"

namespace secateur {
namespace {

// What the micro-kernels need to know of a band of some height.
struct Band {
  BandLayout layout;
  std::vector<std::int64_t> sums;                 // floats before each tile's
  std::vector<std::vector<std::int32_t>> groups;  // panels: bytes from the tile's first pixel to each of its pixels
  std::vector<std::int32_t> places, steps;        // where the sums of each pixel lie
  std::int64_t floats = 0;
};

Band plan_band(const LanePlan& plan, std::int64_t rows, std::int64_t panel_pixels) {
  Band band;
  band.layout = plan.band_layout(rows);
  band.places.resize(static_cast<std::size_t>(rows * plan.region_columns));
  band.steps.resize(band.places.size());
  for (const LaneTile& tile : band.layout.tiles) {
    const std::int64_t count = tile.rows * tile.columns;
    const std::int64_t together = panel_pixels == 0 ? count : panel_pixels;
    const std::int64_t groups = (count + together - 1) / together;
    std::vector<std::int32_t> steps(static_cast<std::size_t>(groups * together));
    for (std::int64_t i = 0; i < groups * together; ++i) {
      // A group that is not full computes its last pixel again.
      const std::int64_t k = std::min(i, count - 1);
      const std::int64_t row = k / tile.columns;
      const std::int64_t column = k % tile.columns;
      steps[static_cast<std::size_t>(i)] =
          static_cast<std::int32_t>((row * plan.row_step() + column) * plan.lanes * 4);
      if (i >= count) continue;
      const std::size_t pixel = static_cast<std::size_t>((tile.row + row) * plan.region_columns + tile.column + column);
      band.places[pixel] = static_cast<std::int32_t>(
          band.floats + (i / together * plan.slice * together + i % together) * plan.lanes);
      band.steps[pixel] = static_cast<std::int32_t>(together * plan.lanes);
    }
    band.sums.push_back(band.floats);
    band.groups.push_back(std::move(steps));
    band.floats += groups * together * plan.slice * plan.lanes;
  }
  return band;
}

struct Unit {
  std::int64_t images, band, group, slice;
};

struct Scratch {
  float* packed;
  float* sums;
  float* line;
  float* widened;
};

class LaneConvolution final : public WeightedStep {
 public:
  LaneConvolution(const WeightedKernels& kernels, const LanePlan& plan, const Matrix& weights, const LayerRefs& refs,
                  bool panel, bool alone)
      : kernels_(kernels),
        plan_(plan),
        refs_(refs),
        panel_(panel),
        alone_(alone),
        weights_(pack_weights(weights, plan, panel ? kernels.panel_channels : 1)),
        full_(plan_band(plan, plan.band_rows, panel ? kernels.panel_pixels : 0)),
        last_(plan_band(plan, plan.region_rows - (plan.bands() - 1) * plan.band_rows, panel ? kernels.panel_pixels : 0)),
        offsets_(plan.offsets()),
        places_(plan.places()),
        used_rows_(plan.used_rows()) {}

  std::size_t packed_bytes() const noexcept override { return weights_.bytes + offsets_.size() * sizeof(std::int32_t); }

  std::int64_t items() const noexcept override { return alone_ ? 1 : units(); }

  std::size_t scratch_bytes() const noexcept override {
    Carver sizes(nullptr);
    carve(sizes);
    return sizes.taken();
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    Carver parts(scratch);
    const Scratch s = carve(parts);
    if (alone_) end = begin < end ? units() : 0;
    Unit packed{-1, -1, -1, -1};
    for (std::int64_t item = begin; item < end; ++item) {
      const Unit unit = unit_of(item);
      if (unit.images != packed.images || unit.band != packed.band || unit.group != packed.group) {
        pack(unit, memory, s.packed);
        packed = unit;
      }
      multiply(unit, s);
      finish(unit, memory, s);
    }
  }

 private:
  std::int64_t units() const noexcept {
    return plan_.image_groups() * plan_.bands() * plan_.shape.groups * plan_.slices();
  }

  // Slices go fastest, so that neighbours share the packed band.
  Unit unit_of(std::int64_t item) const noexcept {
    const std::int64_t slice = item % plan_.slices();
    item /= plan_.slices();
    const std::int64_t group = item % plan_.shape.groups;
    item /= plan_.shape.groups;
    return {item / plan_.bands(), item % plan_.bands(), group, slice};
  }

  Scratch carve(Carver& parts) const noexcept {
    const std::size_t lanes = static_cast<std::size_t>(plan_.lanes);
    Scratch s;
    s.packed = parts.take<float>(static_cast<std::size_t>(plan_.group_in() * plan_.plane()) * lanes);
    s.sums = parts.take<float>(static_cast<std::size_t>(std::max(full_.floats, last_.floats)));
    s.line = parts.take<float>(full_.places.size() * lanes + 8);
    s.widened = parts.take<float>(weights_.type == ValueType::float32 ? 0 : static_cast<std::size_t>(weights_.longest));
    return s;
  }

  const Band& band_of(const Unit& unit) const noexcept { return unit.band + 1 < plan_.bands() ? full_ : last_; }

  void pack(const Unit& unit, const Memory& memory, float* packed) const noexcept {
    const ConvolutionShape& shape = plan_.shape;
    const std::int64_t plane = shape.in_height * shape.in_width;
    PackLines lines{};
    lines.source = memory.read<float>(refs_.source);
    lines.count = static_cast<std::int64_t>(places_.size());
    lines.places = places_.data();
    const std::int64_t rows = plan_.window_rows(band_of(unit).layout.rows);
    for (std::int64_t row = 0; row < rows; ++row) {
      if (!used_rows_[static_cast<std::size_t>(row)]) continue;
      for (std::int64_t lane = 0; lane < plan_.lanes; ++lane) {
        const std::int64_t image = unit.images * plan_.lane_images + lane / (plan_.lane_rows * plan_.lane_columns);
        const std::int64_t lane_row = lane / plan_.lane_columns % plan_.lane_rows;
        const std::int64_t y = (lane_row * plan_.region_rows + unit.band * plan_.band_rows) * shape.stride_height -
                               shape.pad_top + row;
        const std::int64_t x = lane % plan_.lane_columns * plan_.region_columns * shape.stride_width - shape.pad_left;
        const bool inside = image < shape.images && y >= 0 && y < shape.in_height;
        lines.begin[lane] = std::max<std::int64_t>(0, -x);
        lines.end[lane] = inside ? std::min(lines.count, shape.in_width - x) : 0;
        lines.starts[lane] = (image * shape.in_channels + unit.group * plan_.group_in()) * plane + y * shape.in_width + x;
      }
      for (std::int64_t channel = 0; channel < plan_.group_in(); ++channel) {
        lines.packed = packed + (channel * plan_.plane() + row * plan_.pitch()) * plan_.lanes;
        kernels_.pack(lines);
        for (std::int64_t lane = 0; lane < plan_.lanes; ++lane) lines.starts[lane] += plane;
      }
    }
  }

  std::int64_t slice_panels(const Unit& unit) const noexcept {
    return std::min(weights_.slice_panels, weights_.panels - unit.slice * weights_.slice_panels);
  }

  void multiply(const Unit& unit, const Scratch& s) const noexcept {
    const Band& band = band_of(unit);
    for (std::int64_t block = 0; block < weights_.blocks; ++block) {
      const std::int64_t at = weights_.start_index(unit.group, block, unit.slice);
      const std::int64_t start = weights_.starts[at];
      const std::byte* const stored = weights_.values + start * weights_.panel_channels * value_bytes(weights_.type);
      const float* values = reinterpret_cast<const float*>(stored);
      if (weights_.type != ValueType::float32) {
        kernels_.widen(stored, weights_.type, (weights_.starts[at + 1] - start) * weights_.panel_channels, s.widened);
        values = s.widened;
      }
      const std::uint16_t* const counts = weights_.counts + (unit.group * weights_.blocks + block) * weights_.panels +
                                          unit.slice * weights_.slice_panels;
      const std::int32_t* const offsets = offsets_.data() + block * plan_.block;
      for (std::size_t t = 0; t < band.layout.tiles.size(); ++t) {
        const LaneTile& tile = band.layout.tiles[t];
        const float* const pixels = s.packed + (tile.row * plan_.row_step() + tile.column) * plan_.lanes;
        if (panel_) {
          kernels_.panel({values, weights_.indices + start, counts, offsets, pixels, band.groups[t].data(),
                          static_cast<std::int64_t>(band.groups[t].size()) / kernels_.panel_pixels,
                          plan_.slice * kernels_.panel_pixels * plan_.lanes, s.sums + band.sums[t], slice_panels(unit),
                          block == 0});
        } else {
          kernels_.sparse[tile.rows][tile.columns]({values, weights_.indices + start, counts, offsets, pixels,
                                                    plan_.row_step() * plan_.lanes, s.sums + band.sums[t],
                                                    slice_panels(unit), block == 0});
        }
      }
    }
  }

  void finish(const Unit& unit, const Memory& memory, const Scratch& s) const noexcept {
    const ConvolutionShape& shape = plan_.shape;
    const Band& band = band_of(unit);
    // With whole rows in a lane, the rows of a band follow each other in the output, too.
    const bool whole = plan_.lane_columns == 1;
    const std::int64_t rows = whole ? 1 : band.layout.rows;
    const std::int64_t pixels = whole ? band.layout.rows * plan_.region_columns : plan_.region_columns;
    const std::int64_t first = unit.slice * plan_.slice;
    const std::int64_t channels = std::min(plan_.slice, plan_.group_out() - first);
    const float* const bias = memory.read<float>(refs_.bias);
    const float* const residual = memory.read<float>(refs_.residual);
    float* const output = memory.write<float>(refs_.output);
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      const std::int64_t out = unit.group * plan_.group_out() + first + channel;
      for (std::int64_t row = 0; row < rows; ++row) {
        kernels_.unpack({s.sums, band.places.data() + row * pixels, band.steps.data() + row * pixels, channel, pixels,
                         s.line, pixels});
        for (std::int64_t lane = 0; lane < plan_.lanes; lane += plan_.lane_columns) {
          const std::int64_t image = unit.images * plan_.lane_images + lane / (plan_.lane_rows * plan_.lane_columns);
          const std::int64_t y = lane / plan_.lane_columns % plan_.lane_rows * plan_.region_rows +
                                 unit.band * plan_.band_rows + row;
          if (image >= shape.images || y >= shape.out_height) continue;
          const std::int64_t lane_rows = whole ? std::min(band.layout.rows, shape.out_height - y) : 1;
          const std::int64_t to = ((image * shape.out_channels + out) * shape.out_height + y) * shape.out_width;
          kernels_.finish({s.line + lane * pixels, nullptr, residual == nullptr ? nullptr : residual + to, output + to,
                           lane_rows * shape.out_width, bias == nullptr ? 0.0f : bias[out], refs_.activation});
        }
      }
    }
  }

  const WeightedKernels& kernels_;
  const LanePlan plan_;
  const LayerRefs refs_;
  const bool panel_;
  const bool alone_;
  const WeightBlocks weights_;
  const Band full_;
  const Band last_;
  const std::vector<std::int32_t> offsets_;
  const std::vector<std::int32_t> places_;
  const std::vector<bool> used_rows_;
};

double count_nonzeros(const Matrix& weights) {
  double count = 0;
  each_nonzero(weights, [&](std::int64_t, std::int64_t, std::int64_t) { count += 1; });
  return count;
}

}  // namespace

std::unique_ptr<WeightedStep> make_lane_convolution(const WeightedKernels& kernels, const ConvolutionShape& shape,
                                                    const Matrix& weights, const LayerRefs& refs, bool images,
                                                    bool panel) {
  const LaneWork work{count_nonzeros(weights), images, panel};
  const LanePlan plan = plan_lanes(shape, kernels, work);
  return std::make_unique<LaneConvolution>(kernels, plan, weights, refs, panel, plan.small);
}

}  // namespace secateur
