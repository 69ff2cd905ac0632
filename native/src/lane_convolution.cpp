#include "lane_convolution.h"

#include <algorithm>
#include <vector>

#include "matrix_entries.h"

namespace secateur {
namespace {

struct Unit {
  std::int64_t images, band, group, slice;
};

struct Scratch {
  float* packed;
  float* sums;
  float* line;
  LaneProduct::Scratch product;
};

class LaneConvolution final : public WeightedStep {
 public:
  LaneConvolution(const WeightedKernels& kernels, const LanePlan& plan, const Matrix& weights, const LayerRefs& refs,
                  bool panel)
      : product_(kernels, plan, weights, panel),
        plan_(product_.plan()),
        refs_(refs),
        places_(plan.places()),
        used_rows_(plan.used_rows()) {}

  std::size_t packed_bytes() const noexcept override { return product_.bytes(); }

  std::int64_t items() const noexcept override { return plan_.small ? 1 : units(); }

  std::size_t scratch_bytes() const noexcept override {
    Carver sizes(nullptr);
    carve(sizes);
    return sizes.taken();
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    Carver parts(scratch);
    const Scratch s = carve(parts);
    if (plan_.small) end = begin < end ? units() : 0;
    Unit packed{-1, -1, -1, -1};
    for (std::int64_t item = begin; item < end; ++item) {
      const Unit unit = unit_of(item);
      if (unit.images != packed.images || unit.band != packed.band || unit.group != packed.group) {
        pack(unit, memory, s.packed);
        packed = unit;
      }
      product_.multiply(unit.group, unit.slice, product_.band(unit.band), s.packed, s.sums, s.product);
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
    Scratch s;
    s.packed = parts.take<float>(product_.packed_floats());
    s.sums = parts.take<float>(product_.sums_floats());
    s.line = parts.take<float>(static_cast<std::size_t>(plan_.band_rows * plan_.region_columns * plan_.lanes) + 8);
    s.product = product_.carve(parts);
    return s;
  }

  void pack(const Unit& unit, const Memory& memory, float* packed) const noexcept {
    const ConvolutionShape& shape = plan_.shape;
    const std::int64_t plane = shape.in_height * shape.in_width;
    PackLines lines{};
    lines.source = memory.read<float>(refs_.source);
    lines.count = static_cast<std::int64_t>(places_.size());
    lines.places = places_.data();
    lines.channels = plan_.group_in();
    lines.source_step = plane;
    lines.packed_step = plan_.plane() * plan_.lanes;
    const std::int64_t rows = plan_.window_rows(product_.band(unit.band).layout.rows);
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
      lines.packed = packed + row * plan_.pitch() * plan_.lanes;
      product_.kernels().pack(lines);
    }
  }

  void finish(const Unit& unit, const Memory& memory, const Scratch& s) const noexcept {
    const ConvolutionShape& shape = plan_.shape;
    const Band& band = product_.band(unit.band);
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
        product_.kernels().unpack({s.sums, band.places.data() + row * pixels, band.steps.data() + row * pixels, channel, pixels,
                         s.line, pixels});
        for (std::int64_t lane = 0; lane < plan_.lanes; lane += plan_.lane_columns) {
          const std::int64_t image = unit.images * plan_.lane_images + lane / (plan_.lane_rows * plan_.lane_columns);
          const std::int64_t y = lane / plan_.lane_columns % plan_.lane_rows * plan_.region_rows +
                                 unit.band * plan_.band_rows + row;
          if (image >= shape.images || y >= shape.out_height) continue;
          const std::int64_t lane_rows = whole ? std::min(band.layout.rows, shape.out_height - y) : 1;
          const std::int64_t to = ((image * shape.out_channels + out) * shape.out_height + y) * shape.out_width;
          product_.kernels().finish({s.line + lane * pixels, nullptr, residual == nullptr ? nullptr : residual + to, output + to,
                           lane_rows * shape.out_width, bias == nullptr ? 0.0f : bias[out], refs_.activation});
        }
      }
    }
  }

  const LaneProduct product_;
  const LanePlan& plan_;
  const LayerRefs refs_;
  const std::vector<std::int32_t> places_;
  const std::vector<bool> used_rows_;
};

}  // namespace

std::unique_ptr<WeightedStep> make_lane_convolution(const WeightedKernels& kernels, const ConvolutionShape& shape,
                                                    const Matrix& weights, const LayerRefs& refs, bool images,
                                                    bool panel) {
  const LaneWork work{static_cast<double>(count_nonzeros(weights)), images, panel};
  return std::make_unique<LaneConvolution>(kernels, plan_lanes(shape, kernels, work), weights, refs, panel);
}

}  // namespace secateur
