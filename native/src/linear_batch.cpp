#include <algorithm>
#include <utility>

#include "linear_steps.h"
#include "matrix_entries.h"

namespace secateur {
namespace {

class BatchLinear final : public WeightedStep {
 public:
  BatchLinear(const WeightedKernels& kernels, const LanePlan& plan, WeightBlocks weights, const LayerRefs& refs, bool panel)
      : product_(kernels, plan, std::move(weights), panel), plan_(product_.plan()), refs_(refs) {
    // Inputs and outputs are the contiguous axis of a row: an input's vectors lie `region_columns` apart.
    for (std::int64_t i = 0; i < plan.shape.in_channels; ++i) {
      places_.push_back(static_cast<std::int32_t>(i * plan.plane() * plan.lanes));
    }
    channel_steps_.assign(static_cast<std::size_t>(plan.slice), 0);
    channel_places_.resize(static_cast<std::size_t>(plan.slice));
    for (std::size_t i = 0; i < channel_places_.size(); ++i) {
      channel_places_[i] = static_cast<std::int32_t>(i) * product_.band(0).steps[0];
    }
  }

  std::size_t packed_bytes() const noexcept override { return product_.bytes(); }
  std::int64_t items() const noexcept override { return plan_.small ? 1 : units(); }
  std::size_t scratch_bytes() const noexcept override {
    return carved_bytes([this](Carver& parts) { carve(parts); });
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    Carver parts(scratch);
    const Scratch s = carve(parts);
    if (plan_.small) end = begin < end ? units() : 0;
    std::int64_t packed = -1;
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t rows = item / plan_.slices();
      const std::int64_t slice = item % plan_.slices();
      if (rows != packed) pack(rows, memory, s.packed);
      packed = rows;
      product_.multiply(0, slice, product_.band(0), s.packed, s.sums, s.product);
      finish(rows, slice, memory, s);
    }
  }

 private:
  struct Scratch {
    float* packed;
    float* sums;
    LaneProduct::Scratch product;
  };

  std::int64_t units() const noexcept { return plan_.image_groups() * plan_.slices(); }

  Scratch carve(Carver& parts) const noexcept {
    Scratch s;
    s.packed = parts.take<float>(product_.packed_floats());
    s.sums = parts.take<float>(product_.sums_floats());
    s.product = product_.carve(parts);
    return s;
  }

  void pack(std::int64_t rows, const Memory& memory, float* packed) const noexcept {
    PackLines lines{};
    lines.source = memory.read<float>(refs_.source);
    lines.count = plan_.shape.in_channels;
    lines.places = places_.data();
    lines.channels = 1;
    for (std::int64_t vector = 0; vector < plan_.region_columns; ++vector) {
      for (std::int64_t lane = 0; lane < plan_.lanes; ++lane) {
        const std::int64_t row = rows * plan_.lane_images + vector * plan_.lanes + lane;
        lines.starts[lane] = row * plan_.shape.in_channels;
        lines.end[lane] = row < plan_.shape.images ? lines.count : 0;
      }
      lines.packed = packed + vector * plan_.lanes;
      product_.kernels().pack(lines);
    }
  }

  void finish(std::int64_t rows, std::int64_t slice, const Memory& memory, const Scratch& s) const noexcept {
    const std::int64_t first = slice * plan_.slice;
    const std::int64_t channels = std::min(plan_.slice, plan_.shape.out_channels - first);
    const float* const bias = memory.read<float>(refs_.bias);
    const float* const residual = memory.read<float>(refs_.residual);
    FinishLanes lines{};
    std::int64_t to[MAX_LANES], counts[MAX_LANES];
    lines.places = channel_places_.data();
    lines.steps = channel_steps_.data();
    lines.count = channels;
    lines.to = to;
    lines.counts = counts;
    lines.biases = bias == nullptr ? nullptr : bias + first;
    lines.residual = residual;
    lines.output = memory.write<float>(refs_.output);
    lines.activation = refs_.activation;
    for (std::int64_t vector = 0; vector < plan_.region_columns; ++vector) {
      const std::int64_t first_row = rows * plan_.lane_images + vector * plan_.lanes;
      if (first_row >= plan_.shape.images) return;
      for (std::int64_t lane = 0; lane < plan_.lanes; ++lane) {
        const std::int64_t row = first_row + lane;
        to[lane] = row * plan_.shape.out_channels + first;
        counts[lane] = row < plan_.shape.images ? channels : 0;
      }
      lines.sums = s.sums + product_.band(0).places[static_cast<std::size_t>(vector)];
      product_.kernels().finish_lanes(lines);
    }
  }

  const LaneProduct product_;
  const LanePlan& plan_;
  const LayerRefs refs_;
  std::vector<std::int32_t> places_;
  std::vector<std::int32_t> channel_places_;
  std::vector<std::int32_t> channel_steps_;
};

}  // namespace

std::unique_ptr<WeightedStep> make_batch_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                const Matrix& weights, bool columns, const LayerRefs& refs, bool panel) {
  const LaneWork work{static_cast<double>(count_nonzeros(weights)), true, panel};
  const LanePlan plan = plan_batch(shape, kernels, work);
  const auto pack = columns ? pack_columns : pack_weights;
  WeightBlocks blocks = pack(weights, plan, panel ? kernels.panel_channels : 1);
  return std::make_unique<BatchLinear>(kernels, plan, std::move(blocks), refs, panel);
}

}  // namespace secateur
