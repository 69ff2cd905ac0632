#include "winograd_streamed.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "full_walk.h"
#include "matrix_entries.h"
#include "sizes.h"
#include "weight_blocks.h"
#include "winograd_lines.h"
#include "winograd_tiles.h"

namespace secateur {
namespace {

constexpr std::int64_t EIGHT = 8;
constexpr std::int64_t TAPS = 9;
constexpr std::int64_t POINTS = 36;
// Of a run: every one transforms all filters again.
constexpr std::int64_t RUN_TILES = 128;
// Input channels at a time: their transformed filters stay in the second-level cache, and those of a point in the first.
constexpr std::int64_t MOST_CHANNELS = 56;
// Of them, those whose weights are packed together: positions are numbered in bytes.
constexpr std::int64_t MOST_PACKED = 256 / TAPS;

struct StreamedPlan {
  WinogradTiles tiles;
  std::int64_t lanes;
  std::int64_t vectors;  // of tiles of a run
  std::int64_t runs;
  std::int64_t slices;  // of the output channels: an item each
  std::int64_t slice;   // of the longest, output channels
  std::int64_t packed;  // input channels of a block of packed weights
  std::int64_t part;    // and of whole such blocks that go at a time

  std::int64_t group_in() const { return tiles.shape.in_channels / tiles.shape.groups; }
  std::int64_t group_out() const { return tiles.shape.out_channels / tiles.shape.groups; }
  std::int64_t parts() const { return ceil_div(group_in(), part); }
  std::int64_t output_vectors() const { return ceil_div(group_out(), lanes); }
  // The first output channel of a slice; all are as long as each other, but for a vector.
  std::int64_t slice_begin(std::int64_t index) const { return output_vectors() * index / slices * lanes; }
  std::int64_t slice_end(std::int64_t index) const { return std::min(slice_begin(index + 1), group_out()); }
  std::int64_t eights() const { return vectors * lanes / EIGHT; }
};

StreamedPlan plan_streamed(const ConvolutionShape& shape, const WeightedKernels& kernels) {
  StreamedPlan plan{{shape, 4}, kernels.lanes, 0, 0, 0, 0, 0, 0};
  const std::int64_t all = ceil_div(plan.tiles.count(), plan.lanes);
  plan.vectors = ceil_div(all, ceil_div(all, RUN_TILES / plan.lanes));
  plan.runs = ceil_div(all, plan.vectors);
  const std::int64_t parts = ceil_div(plan.group_in(), MOST_CHANNELS);
  const std::int64_t blocks = ceil_div(ceil_div(plan.group_in(), parts), MOST_PACKED);
  plan.packed = ceil_div(plan.group_in(), parts * blocks);
  plan.part = blocks * plan.packed;
  plan.slices = ceil_div(plan.output_vectors(), kernels.panel_pixels);
  // Two threads have as many items each: of eleven, one thread's six took as long as twelve do.
  const bool odd = plan.slices * plan.runs * shape.groups % 2 != 0;
  if (odd && plan.slices < plan.output_vectors()) ++plan.slices;
  plan.slice = ceil_div(plan.output_vectors(), plan.slices) * plan.lanes;
  return plan;
}

WeightBlocks pack(const StreamedPlan& plan, const Matrix& weights) {
  LanePlan filters;
  filters.shape = plan.tiles.shape;
  filters.block = plan.packed * TAPS;
  filters.slice = plan.lanes;
  return pack_weights(weights, filters, 1);
}

// Eights of tiles that hold any of so many: they are not in their own order within a vector.
std::int64_t eights_of(const StreamedPlan& plan, std::int64_t tiles) {
  const std::int64_t last = (tiles - 1) % plan.lanes;  // of the last vector
  const std::int64_t fours = plan.lanes / 4;
  const std::int64_t lane = last >= fours ? plan.lanes - 1 : 4 * last;
  return ((tiles - 1) / plan.lanes * plan.lanes + lane) / EIGHT + 1;
}

// Output channels of an item, and a part of its input channels.
struct Part {
  std::int64_t group, output, outputs, first, inputs;
};

class StreamedWinograd final : public WeightedStep {
 public:
  StreamedWinograd(const WeightedKernels& kernels, const StreamedPlan& plan, const Matrix& weights, const LayerRefs& refs)
      : kernels_(kernels),
        plan_(plan),
        lines_(plan.tiles, kernels, refs, plan.vectors),
        weights_(pack(plan, weights)),
        full_(plan.eights(), plan.part),
        last_(plan.eights(), plan.group_in() - (plan.parts() - 1) * plan.part) {
    for (std::int64_t i = 0; i < plan.part; ++i) offsets_.push_back(static_cast<std::int32_t>(floats(i * plan.slice)));
    for (std::int64_t i = 0; i < kernels.panel_pixels; ++i) {
      pixels_.push_back(static_cast<std::int32_t>(floats(i * plan.lanes)));
    }
  }

  std::size_t packed_bytes() const noexcept override { return weights_.bytes; }
  std::int64_t items() const noexcept override { return plan_.runs * plan_.tiles.shape.groups * plan_.slices; }
  std::size_t scratch_bytes() const noexcept override {
    return carved_bytes([this](Carver& parts) { carve(parts); });
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    Carver parts(scratch);
    const Scratch s = carve(parts);
    std::int64_t transformed = -1;
    for (std::int64_t item = begin; item < end; ++item) {
      // Slices go fastest: neighbours share the transformed input.
      const std::int64_t input = item / plan_.slices;
      const std::int64_t group = input % plan_.tiles.shape.groups;
      const std::int64_t run = input / plan_.tiles.shape.groups;
      if (input != transformed) transform_input(run, group, memory, s);
      transformed = input;
      const std::int64_t output = plan_.slice_begin(item % plan_.slices);
      const std::int64_t outputs = plan_.slice_end(item % plan_.slices) - output;
      for (std::int64_t first = 0; first < plan_.group_in(); first += plan_.part) {
        const Part part{group, output, outputs, first, std::min(plan_.part, plan_.group_in() - first)};
        transform_filters(part, s);
        multiply(part, run, s);
      }
      finish(run, group, output, outputs, memory, s);
    }
  }

 private:
  struct Scratch {
    WinogradLines::Scratch lines;
    float* tiles;        // [parts][points][eights][input channels][8]
    float* filters;      // [input channels of a block][taps][lanes]
    float* widened;
    float* transformed;  // [points][input channels of a part][output channels of a slice]
    float* products;     // [points][tiles][output channels of a slice]
  };

  // Floats from point to point: not a whole number of pages, as what lies pages apart shares a set of the caches.
  std::int64_t tiles_step() const noexcept { return plan_.eights() * plan_.part * EIGHT + plan_.lanes; }
  std::int64_t filters_step() const noexcept { return plan_.part * plan_.slice + plan_.lanes; }
  std::int64_t products_step() const noexcept { return lines_.width() * product_step() + plan_.lanes; }
  // From tile to tile: what the panels' kernel leaves room for.
  std::int64_t product_step() const noexcept { return kernels_.panel_pixels * plan_.lanes; }

  Scratch carve(Carver& parts) const noexcept {
    Scratch s;
    s.lines = lines_.carve(parts, plan_.lanes);
    s.tiles = parts.take<float>(static_cast<std::size_t>(plan_.parts() * POINTS * tiles_step()));
    s.filters = parts.take<float>(static_cast<std::size_t>(plan_.packed * TAPS * plan_.lanes));
    s.widened = parts.take<float>(weights_.type == ValueType::float32 ? 0 : static_cast<std::size_t>(weights_.longest));
    s.transformed = parts.take<float>(static_cast<std::size_t>(POINTS * filters_step()));
    s.products = parts.take<float>(static_cast<std::size_t>(POINTS * products_step()));
    return s;
  }

  void transform_input(std::int64_t run, std::int64_t group, const Memory& memory, const Scratch& s) const noexcept {
    WinogradInput in = lines_.input(run, group * plan_.group_in(), memory, s.lines);
    in.channel_step = EIGHT;
    in.point_step = tiles_step();
    for (std::int64_t part = 0; part < plan_.parts(); ++part) {
      in.channels = std::min(plan_.part, plan_.group_in() - part * plan_.part);
      in.eight_step = in.channels * EIGHT;
      in.tiles = s.tiles + part * POINTS * tiles_step();
      kernels_.streamed.input(in);
      in.source += in.channels * in.source_step;
    }
  }

  void transform_filters(const Part& part, const Scratch& s) const noexcept {
    for (std::int64_t first = 0; first < part.inputs; first += plan_.packed) {
      for (std::int64_t output = 0; output < part.outputs; output += plan_.lanes) {
        spread(part, (part.first + first) / plan_.packed, output, s);
        kernels_.streamed.filters({s.filters, std::min(plan_.packed, part.inputs - first),
                                   s.transformed + first * plan_.slice + output, plan_.slice, filters_step()});
      }
    }
  }

  // The weights of a vector of output channels and a block of input channels, as if there were no zeros among them.
  void spread(const Part& part, std::int64_t block, std::int64_t output, const Scratch& s) const noexcept {
    const std::int64_t channels = std::min(plan_.lanes, part.outputs - output);
    const std::int64_t first = part.output + output;
    const std::uint16_t* const counts =
        weights_.counts + (part.group * weights_.blocks + block) * weights_.panels + first;
    const std::int64_t start = weights_.starts[weights_.start_index(part.group, block, first / plan_.lanes)];
    const std::byte* const stored = weights_.values + start * value_bytes(weights_.type);
    const float* value = reinterpret_cast<const float*>(stored);
    if (weights_.type != ValueType::float32) {
      const std::int64_t count = std::accumulate(counts, counts + channels, std::int64_t{0});
      kernels_.widen(stored, weights_.type, count, s.widened);
      value = s.widened;
    }
    const std::uint8_t* index = weights_.indices + start;
    std::memset(s.filters, 0, static_cast<std::size_t>(floats(plan_.packed * TAPS * plan_.lanes)));
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      float* const lane = s.filters + channel;
      for (const std::uint8_t* const last = index + counts[channel]; index < last; ++index, ++value) {
        lane[*index * plan_.lanes] = *value;
      }
    }
  }

  void multiply(const Part& part, std::int64_t run, const Scratch& s) const noexcept {
    const FullWalk& walk = part.inputs == plan_.part ? full_ : last_;
    const float* const tiles = s.tiles + part.first / plan_.part * POINTS * tiles_step();
    const std::int64_t eights = eights_of(plan_, lines_.tile_count(run));
    const std::int64_t vectors = ceil_div(part.outputs, plan_.lanes);
    for (std::int64_t point = 0; point < POINTS; ++point) {
      kernels_.panel({tiles + point * tiles_step(), walk.indices.data(), walk.counts.data(), offsets_.data(),
                      s.transformed + point * filters_step(), pixels_.data(), 1, kernels_.panel_pixels, vectors, 0,
                      s.products + point * products_step(), eights, eights * EIGHT, part.first == 0});
    }
  }

  void finish(std::int64_t run, std::int64_t group, std::int64_t output, std::int64_t outputs, const Memory& memory,
              const Scratch& s) const noexcept {
    const std::int64_t pieces = lines_.pieces(run, s.lines);
    const std::int64_t tiles = eights_of(plan_, lines_.tile_count(run)) * EIGHT;
    for (std::int64_t first = 0; first < outputs; first += plan_.lanes) {
      kernels_.streamed.output({s.products + first, products_step(), product_step(), tiles, s.lines.lines,
                                lines_.line_step()});
      for (std::int64_t channel = 0; channel < std::min(plan_.lanes, outputs - first); ++channel) {
        lines_.finish(group * plan_.group_out() + output + first + channel,
                      s.lines.lines + channel * plan_.tiles.side * lines_.line_step(), pieces, memory, s.lines);
      }
    }
  }

  const WeightedKernels& kernels_;
  const StreamedPlan plan_;
  const WinogradLines lines_;
  const WeightBlocks weights_;
  const FullWalk full_, last_;
  std::vector<std::int32_t> offsets_, pixels_;
};

}  // namespace

bool streamed_winograd_applicable(const WeightedKernels& kernels) { return kernels.panel_channels == EIGHT; }

std::unique_ptr<WeightedStep> make_streamed_winograd(const WeightedKernels& kernels, const ConvolutionShape& shape,
                                                     const Matrix& weights, const LayerRefs& refs) {
  return std::make_unique<StreamedWinograd>(kernels, plan_streamed(shape, kernels), weights, refs);
}

}  // namespace secateur
