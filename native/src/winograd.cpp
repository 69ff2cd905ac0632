#include "winograd.h"

#include <algorithm>
#include <utility>

#include "polyphase.h"
#include "sizes.h"
#include "winograd_filters.h"
#include "winograd_lines.h"
#include "winograd_tiles.h"

namespace secateur {
namespace {

// Of a run. What is transformed at once and its products stay near the processor: runs four times as long took up to twice
// the time on Ice Lake, where they went through the third level.
constexpr std::int64_t RUN_TILES = 48;
// Of the first-level cache, for the inputs that the panels of a point share.
constexpr std::int64_t BLOCK_BYTES = 24 * 1024;
// Of the second-level cache, for the products of a slice: fitted to Zen 3, and for wide vectors to Ice Lake.
std::int64_t product_bytes(std::int64_t lanes) { return (lanes > 8 ? 1024 : 384) * 1024; }

// The products: for each point a matrix of output by input channels times the vectors of a run of tiles.
LanePlan plan_products(const WinogradTiles& tiles, const WeightedKernels& kernels) {
  const std::int64_t points = tiles.points();
  LanePlan plan;
  plan.shape.groups = points * tiles.shape.groups;
  plan.shape.in_channels = points * tiles.shape.in_channels;
  plan.shape.out_channels = points * tiles.shape.out_channels;
  plan.lanes = kernels.lanes;
  plan.region_rows = ceil_div(tiles.count(), kernels.lanes);
  // One vector more rather than a run of it alone.
  const std::int64_t most = RUN_TILES / plan.lanes;
  const std::int64_t runs = plan.region_rows <= most + 1 ? 1 : ceil_div(plan.region_rows, most);
  plan.band_rows = plan.tile_rows = ceil_div(plan.region_rows, runs);
  const std::int64_t bytes = floats(plan.band_rows * plan.lanes);
  const std::int64_t channels = std::clamp<std::int64_t>(BLOCK_BYTES / bytes, 1, 256);
  plan.block = ceil_div(plan.group_in(), ceil_div(plan.group_in(), channels));
  const std::int64_t unit = kernels.panel_channels;
  const std::int64_t all = ceil_div(plan.group_out(), unit);
  // Two fused multiply-adds a cycle.
  const std::int64_t vectors = plan.region_rows * tiles.shape.groups;
  const double cycles = 0.5 * static_cast<double>(points) * static_cast<double>(plan.group_in() * all * unit * vectors);
  plan.small = cycles < SMALL_CYCLES;
  std::int64_t slices = ceil_div(all * unit * points * bytes, product_bytes(plan.lanes));
  if (!plan.small) slices = balanced_slices(slices, all * unit, plan.bands() * tiles.shape.groups);
  plan.slice = ceil_div(all, std::min(slices, all)) * unit;
  return plan;
}

class Winograd final : public WeightedStep {
 public:
  // `shape`: as it is, of whatever stride; `tiles`: of stride 1.
  Winograd(const ConvolutionShape& shape, const WinogradTiles& tiles, const WeightedKernels& kernels,
           const LanePlan& products, WeightBlocks filters, const LayerRefs& refs)
      : shape_(shape),
        refs_(refs),
        tiles_(tiles),
        transforms_(kernels.winograd[(tiles.taps() == 3 ? 0 : 2) + (tiles.side == 4 ? 1 : 0)]),
        product_(kernels, products, std::move(filters), true),
        lines_(tiles, kernels, refs, products.band_rows),
        phases_(shape, tiles, kernels, lines_.width()) {}

  std::size_t packed_bytes() const noexcept override { return product_.bytes(); }
  std::int64_t items() const noexcept override { return plan().small ? 1 : units(); }
  std::size_t scratch_bytes() const noexcept override {
    return carved_bytes([this](Carver& parts) { carve(parts); });
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    Carver parts(scratch);
    const Scratch s = carve(parts);
    if (plan().small) end = begin < end ? units() : 0;
    std::int64_t transformed = -1;
    for (std::int64_t item = begin; item < end; ++item) {
      // Slices go fastest: neighbours share the transformed input.
      const std::int64_t slice = item % plan().slices();
      const std::int64_t input = item / plan().slices();
      const std::int64_t group = input % tiles_.shape.groups;
      const std::int64_t run = run_at(input / tiles_.shape.groups);
      if (input != transformed) transform(run, group, memory, s);
      transformed = input;
      multiply(run, group, slice, s);
      finish(run, group, slice, memory, s);
    }
  }

 private:
  struct Scratch {
    WinogradLines::Scratch lines;
    PhaseRows::Scratch phases;
    float* tiles;
    float* products;
    LaneProduct::Scratch product;
  };

  const LanePlan& plan() const noexcept { return product_.plan(); }
  // The last run, which may be a short one, goes in the middle: two threads with as many items then have as much to do.
  // (Of 13 vectors in runs of three, one thread had 7.5.)
  std::int64_t run_at(std::int64_t place) const noexcept {
    const std::int64_t last = plan().bands() - 1, middle = plan().bands() / 2;
    return place < middle ? place : place == middle ? last : place - 1;
  }
  std::int64_t units() const noexcept { return plan().bands() * tiles_.shape.groups * plan().slices(); }
  std::int64_t group_in() const noexcept { return plan().group_in(); }
  std::int64_t group_out() const noexcept { return plan().group_out(); }
  // Floats from point to point: not a whole number of pages, as what lies pages apart shares a set of the caches.
  std::int64_t tiles_step() const noexcept { return (group_in() * plan().band_rows + 1) * plan().lanes; }
  std::int64_t products_step() const noexcept { return static_cast<std::int64_t>(product_.sums_floats()) + plan().lanes; }

  Scratch carve(Carver& parts) const noexcept {
    Scratch s;
    s.lines = lines_.carve(parts, 1);
    s.phases = strided() ? phases_.carve(parts) : PhaseRows::Scratch{};
    s.tiles = parts.take<float>(static_cast<std::size_t>(tiles_.points() * tiles_step()));
    s.products = parts.take<float>(static_cast<std::size_t>(tiles_.points() * products_step()));
    s.product = product_.carve(parts);
    return s;
  }

  bool strided() const noexcept { return shape_.stride_height > 1; }

  void transform(std::int64_t run, std::int64_t group, const Memory& memory, const Scratch& s) const noexcept {
    if (strided()) return transform_phases(run, group, memory, s);
    WinogradInput in = lines_.input(run, group * group_in(), memory, s.lines);
    in.channels = group_in();
    place(in, 0, s);
    transforms_.input(in);
  }

  void transform_phases(std::int64_t run, std::int64_t group, const Memory& memory, const Scratch& s) const noexcept {
    const std::int64_t first = lines_.first_tile(run), count = lines_.tile_count(run);
    WinogradInput in = lines_.blank(run, s.lines);
    in.source = s.phases.rows;
    in.source_step = phases_.channel_step();
    in.copy_count = phases_.lines(first, count, lines_.width(), s.lines.copies);
    in.channels = phases_.channels();
    const std::int64_t channels = shape_.in_channels / shape_.groups;
    const std::int64_t plane = shape_.in_height * shape_.in_width;
    const float* channel = memory.read<float>(refs_.source) + group * channels * plane;
    for (std::int64_t at = 0; at < group_in(); channel += plane) {
      for (std::int64_t phase = 0; phase < shape_.stride_height; ++phase, at += in.channels) {
        phases_.split(first, count, channel, phase, s.phases);
        place(in, at, s);
        transforms_.input(in);
      }
    }
  }

  // From the channel `at` of the group on.
  void place(WinogradInput& in, std::int64_t at, const Scratch& s) const noexcept {
    in.channel_step = plan().band_rows * plan().lanes;
    in.point_step = tiles_step();
    in.tiles = s.tiles + at * in.channel_step;
  }

  void multiply(std::int64_t run, std::int64_t group, std::int64_t slice, const Scratch& s) const noexcept {
    for (std::int64_t point = 0; point < tiles_.points(); ++point) {
      product_.multiply(point * tiles_.shape.groups + group, slice, product_.band(run), s.tiles + point * tiles_step(),
                        s.products + point * products_step(), s.product);
    }
  }

  void finish(std::int64_t run, std::int64_t group, std::int64_t slice, const Memory& memory,
              const Scratch& s) const noexcept {
    const Band& band = product_.band(run);
    const std::int64_t pieces = lines_.pieces(run, s.lines);
    const std::int64_t channels = std::min(plan().slice, group_out() - slice * plan().slice);
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      transforms_.output({s.products, products_step(), band.places.data(), band.steps.data(), channel, lines_.vectors(run),
                          s.lines.lines, lines_.line_step()});
      lines_.finish(group * group_out() + slice * plan().slice + channel, s.lines.lines, pieces, memory, s.lines);
    }
  }

  const ConvolutionShape shape_;
  const LayerRefs refs_;
  const WinogradTiles tiles_;
  const WinogradTransforms transforms_;
  const LaneProduct product_;
  const WinogradLines lines_;
  const PhaseRows phases_;
};

}  // namespace

bool winograd_applicable(const ConvolutionShape& s) {
  const bool windows = !s.pooled() || (s.pool_height == 2 && s.pool_width == 2);
  const std::int64_t taps = phase_taps(s.kernel_height, s.stride_height);
  const bool size = taps == 3 || taps == 5;
  return windows && size && s.kernel_width == s.kernel_height && s.stride_height == s.stride_width &&
         s.dilation_height == 1 && s.dilation_width == 1;
}

std::unique_ptr<WeightedStep> make_winograd(int side, const WeightedKernels& kernels, const ConvolutionShape& shape,
                                            const Matrix& weights, const LayerRefs& refs) {
  const WinogradTiles tiles{polyphase(shape), side};
  const LanePlan products = plan_products(tiles, kernels);
  WeightBlocks filters = transform_filters(side, tiles.taps(), shape, kernels, weights, products);
  return std::make_unique<Winograd>(shape, tiles, kernels, products, std::move(filters), refs);
}

}  // namespace secateur
