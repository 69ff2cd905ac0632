#include "winograd.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "lane_images.h"
#include "matrix_entries.h"

namespace secateur {
namespace {

// Products of a tile.
constexpr std::int64_t points_of(std::int64_t side, std::int64_t taps) { return (side + taps - 1) * (side + taps - 1); }
// The transformed input of a band and the products of a slice go through the caches together: fitted to Zen 3, and for wide
// vectors to Ice Lake, where every slice reads the input from the third level again.
std::int64_t band_tiles(std::int64_t lanes) { return lanes > 8 ? 7 : 14; }
std::int64_t product_bytes(std::int64_t lanes) { return (lanes > 8 ? 1024 : 384) * 1024; }
constexpr std::int64_t BLOCK_BYTES = 18 * 1024;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// G g, with G = (1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1): exact for integers below 2^21.
void transform_line(const float (&g)[3], float (&u)[4]) {
  u[0] = g[0];
  u[1] = 0.5f * ((g[0] + g[2]) + g[1]);
  u[2] = 0.5f * ((g[0] + g[2]) - g[1]);
  u[3] = g[2];
}

// With G = (1/4 0 0; -1/2 -1/2 -1/2; -1/2 1/2 -1/2; 1/8 1/4 1/2; 1/8 -1/4 1/2; 0 0 1): the thirds that rows 2 to 5 lack
// are taken of the output.
void transform_line(const float (&g)[3], float (&u)[6]) {
  u[0] = 0.25f * g[0];
  u[1] = -0.5f * ((g[0] + g[2]) + g[1]);
  u[2] = -0.5f * ((g[0] + g[2]) - g[1]);
  u[3] = 0.125f * ((g[0] + 4.0f * g[2]) + 2.0f * g[1]);
  u[4] = 0.125f * ((g[0] + 4.0f * g[2]) - 2.0f * g[1]);
  u[5] = g[2];
}

// The same points with five powers each, and the thirds again left to the output.
void transform_line(const float (&g)[5], float (&u)[6]) {
  const float even = g[0] + g[2] + g[4];
  const float odd = g[1] + g[3];
  const float far_even = g[0] + 4.0f * g[2] + 16.0f * g[4];
  const float far_odd = 2.0f * g[1] + 8.0f * g[3];
  u[0] = 0.25f * g[0];
  u[1] = -0.5f * (even + odd);
  u[2] = -0.5f * (even - odd);
  u[3] = 0.125f * (far_even + far_odd);
  u[4] = 0.125f * (far_even - far_odd);
  u[5] = g[4];
}

// G g G^T.
template <int TAPS, int POINTS_A_LINE>
void transform_filter(const float (&g)[TAPS * TAPS], float* u) {
  float columns[TAPS][POINTS_A_LINE];
  for (int j = 0; j < TAPS; ++j) {
    float column[TAPS];
    for (int i = 0; i < TAPS; ++i) column[i] = g[i * TAPS + j];
    transform_line(column, columns[j]);
  }
  for (int i = 0; i < POINTS_A_LINE; ++i) {
    float line[TAPS];
    for (int j = 0; j < TAPS; ++j) line[j] = columns[j][i];
    float row[POINTS_A_LINE];
    transform_line(line, row);
    std::copy_n(row, POINTS_A_LINE, u + i * POINTS_A_LINE);
  }
}

// The transformed filters: [points][groups][out channels of the group][in channels of the group], points being groups of
// a product.
template <int SIDE, int TAPS>
WeightBlocks transform_weights(const WeightedKernels& kernels, const Matrix& weights, const LanePlan& products) {
  constexpr std::int64_t POINTS = points_of(SIDE, TAPS);
  constexpr std::int64_t WEIGHTS = TAPS * TAPS;
  const std::int64_t channels = weights.length / WEIGHTS;
  FullBlocks out(products, kernels.panel_channels);
  std::vector<float> line(static_cast<std::size_t>(weights.length));
  std::vector<float> transformed(static_cast<std::size_t>(POINTS * channels));
  const auto emit = [&](std::int64_t at) {
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      float g[WEIGHTS];
      float u[POINTS];
      std::copy_n(line.begin() + channel * WEIGHTS, WEIGHTS, g);
      transform_filter<TAPS, SIDE + TAPS - 1>(g, u);
      for (std::int64_t point = 0; point < POINTS; ++point) {
        transformed[static_cast<std::size_t>(point * channels + channel)] = u[point];
      }
    }
    for (std::int64_t point = 0; point < POINTS; ++point) {
      out.put(point * weights.lines + at, &transformed[static_cast<std::size_t>(point * channels)]);
    }
    std::fill(line.begin(), line.end(), 0.0f);
  };
  std::int64_t current = 0;
  each_nonzero(weights, [&](std::int64_t at, std::int64_t position, std::int64_t entry) {
    for (; current < at; ++current) emit(current);  // lines without entries, too
    const std::byte* const value = static_cast<const std::byte*>(weights.values) + entry * value_bytes(weights.type);
    kernels.widen(value, weights.type, 1, &line[static_cast<std::size_t>(position)]);
  });
  for (; current < weights.lines; ++current) emit(current);
  return out.take();
}

// The geometry of the convolution: regions of whole tiles, bands of whole rows of them.
LanePlan plan_images(std::int64_t side, const ConvolutionShape& shape, const WeightedKernels& kernels) {
  LanePlan plan;
  plan.shape = shape;
  plan.lanes = kernels.lanes;
  LanePlan chosen = plan;
  const std::int64_t most = band_tiles(plan.lanes);
  double least = std::numeric_limits<double>::infinity();
  for (plan.lane_images = 1; plan.lane_images <= plan.lanes; plan.lane_images *= 2) {
    if (plan.lane_images >= 2 * shape.images) break;
    for (plan.lane_rows = 1; plan.lane_images * plan.lane_rows <= plan.lanes; plan.lane_rows *= 2) {
      plan.lane_columns = plan.lanes / plan.lane_images / plan.lane_rows;
      const std::int64_t rows = divide_up(divide_up(shape.out_height, plan.lane_rows), side);
      const std::int64_t columns = divide_up(divide_up(shape.out_width, plan.lane_columns), side);
      plan.region_rows = side * rows;
      plan.region_columns = side * columns;
      plan.band_rows = side * std::min(rows, std::max<std::int64_t>(1, most / columns));
      const std::int64_t tiles = plan.band_rows / side * columns;
      const double cost = static_cast<double>(plan.image_groups() * plan.bands()) * panel_cycles(tiles, kernels);
      if (cost < least ||
          (cost == least && tiles <= most && chosen.band_rows / side * (chosen.region_columns / side) > most)) {
        least = cost;
        chosen = plan;
      }
    }
  }
  chosen.tile_rows = chosen.band_rows;
  chosen.tile_columns = chosen.region_columns;
  return chosen;
}

// The products: for each point a matrix of output by input channels times the tiles of a band.
LanePlan plan_products(std::int64_t side, const LanePlan& images, const WeightedKernels& kernels) {
  const std::int64_t points = points_of(side, images.shape.kernel_height);
  LanePlan plan;
  plan.shape.groups = points * images.shape.groups;
  plan.shape.in_channels = points * images.shape.in_channels;
  plan.shape.out_channels = points * images.shape.out_channels;
  plan.lanes = kernels.lanes;
  plan.lane_columns = plan.lanes;
  plan.region_columns = plan.tile_columns = images.band_rows / side * (images.region_columns / side);
  const std::int64_t bytes = plan.region_columns * plan.lanes * 4;
  const std::int64_t channels = std::clamp<std::int64_t>(BLOCK_BYTES / bytes, 1, 256);
  plan.block = divide_up(plan.group_in(), divide_up(plan.group_in(), channels));
  const std::int64_t unit = kernels.panel_channels;
  const std::int64_t all = divide_up(plan.group_out(), unit);
  const std::int64_t others = images.image_groups() * images.bands() * images.shape.groups;
  std::int64_t slices = divide_up(all * unit * points * bytes, product_bytes(plan.lanes));
  // Two fused multiply-adds a cycle.
  const double cycles = 0.5 * static_cast<double>(points) * static_cast<double>(plan.group_in() * all * unit * plan.region_columns * others);
  plan.small = cycles < SMALL_CYCLES;
  if (!plan.small) slices = balanced_slices(slices, all * unit, others);
  plan.slice = divide_up(all, std::min(slices, all)) * unit;
  return plan;
}

LanePlan with_slice(LanePlan plan, std::int64_t slice) {
  plan.slice = slice;
  return plan;
}

class Winograd final : public WeightedStep {
 public:
  Winograd(int side, const WeightedKernels& kernels, const LanePlan& images, const LanePlan& products, WeightBlocks filters,
           const LayerRefs& refs)
      : side_(side),
        points_(points_of(side, images.shape.kernel_height)),
        transforms_(kernels.winograd[side == 4 ? 1 : images.shape.kernel_height == 3 ? 0 : 2]),
        plan_(with_slice(images, products.slice)),
        product_(kernels, products, std::move(filters), true),
        images_(kernels, plan_, refs) {
    const std::int64_t pixels = plan_.band_rows * plan_.region_columns;
    for (std::int64_t i = 0; i < pixels; ++i) places_.push_back(static_cast<std::int32_t>(i * plan_.lanes));
    steps_.assign(static_cast<std::size_t>(pixels), static_cast<std::int32_t>(pixels * plan_.lanes));
  }

  std::size_t packed_bytes() const noexcept override { return product_.bytes(); }
  std::int64_t items() const noexcept override { return product_.plan().small ? 1 : images_.units(); }
  std::size_t scratch_bytes() const noexcept override {
    Carver sizes(nullptr);
    carve(sizes);
    return sizes.taken();
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    Carver parts(scratch);
    const Scratch s = carve(parts);
    if (product_.plan().small) end = begin < end ? images_.units() : 0;
    LaneUnit packed;
    for (std::int64_t item = begin; item < end; ++item) {
      const LaneUnit unit = images_.unit(item);
      if (!unit.same_band(packed)) {
        images_.pack(unit, memory, s.packed);
        // The last band may be lower; what lies in its other tiles is multiplied, too, and nobody reads it.
        transforms_.input({s.packed, plan_.plane() * plan_.lanes, plan_.pitch() * plan_.lanes, tile_rows(unit),
                                 tile_columns(), plan_.group_in(), s.tiles, tiles_step() / plan_.group_in(),
                                 tiles_step()});
      }
      packed = unit;
      multiply(unit, s);
      images_.finish(unit, memory, {s.sums, places_.data(), steps_.data()}, s.line, nullptr);
    }
  }

 private:
  struct Scratch {
    float* packed;
    float* tiles;
    float* products;
    float* sums;
    float* line;
    LaneProduct::Scratch product;
  };

  std::int64_t tile_columns() const noexcept { return plan_.region_columns / side_; }
  std::int64_t tile_rows(const LaneUnit& unit) const noexcept {
    return std::min(plan_.band_rows, plan_.region_rows - unit.band * plan_.band_rows) / side_;
  }
  // Floats of the transformed input of a point, for a band of full height.
  std::int64_t tiles_step() const noexcept {
    return plan_.group_in() * (plan_.band_rows / side_) * tile_columns() * plan_.lanes;
  }

  Scratch carve(Carver& parts) const noexcept {
    const std::size_t lanes = static_cast<std::size_t>(plan_.lanes);
    Scratch s;
    s.packed = parts.take<float>(static_cast<std::size_t>(plan_.group_in() * plan_.plane()) * lanes);
    s.tiles = parts.take<float>(static_cast<std::size_t>(points_ * tiles_step()));
    s.products = parts.take<float>(static_cast<std::size_t>(points_) * product_.sums_floats());
    s.sums = parts.take<float>(static_cast<std::size_t>(plan_.slice * plan_.band_rows * plan_.region_columns) * lanes);
    s.line = parts.take<float>(images_.line_floats());
    s.product = product_.carve(parts);
    return s;
  }

  void multiply(const LaneUnit& unit, const Scratch& s) const noexcept {
    const Band& band = product_.band(0);
    const std::int64_t products_step = static_cast<std::int64_t>(product_.sums_floats());
    for (std::int64_t point = 0; point < points_; ++point) {
      product_.multiply(point * plan_.shape.groups + unit.group, unit.slice, band, s.tiles + point * tiles_step(),
                        s.products + point * products_step, s.product);
    }
    const std::int64_t channels = std::min(plan_.slice, plan_.group_out() - unit.slice * plan_.slice);
    transforms_.output({s.products, products_step, band.places.data(), band.steps.data(), channels,
                              plan_.band_rows / side_, tile_columns(), s.sums});
  }

  const std::int64_t side_, points_;
  const WinogradTransforms transforms_;
  const LanePlan plan_;
  const LaneProduct product_;
  const LaneImages images_;
  std::vector<std::int32_t> places_;
  std::vector<std::int32_t> steps_;
};

}  // namespace

bool winograd_applicable(int side, const ConvolutionShape& s) {
  const bool size = s.kernel_height == 3 || (side == 2 && s.kernel_height == 5);
  return size && s.kernel_width == s.kernel_height && s.stride_height == 1 && s.stride_width == 1 &&
         s.dilation_height == 1 && s.dilation_width == 1;
}

std::unique_ptr<WeightedStep> make_winograd(int side, const WeightedKernels& kernels, const ConvolutionShape& shape,
                                            const Matrix& weights, const LayerRefs& refs) {
  const LanePlan images = plan_images(side, shape, kernels);
  const LanePlan products = plan_products(side, images, kernels);
  WeightBlocks filters = side == 4                  ? transform_weights<4, 3>(kernels, weights, products)
                         : shape.kernel_height == 3 ? transform_weights<2, 3>(kernels, weights, products)
                                                    : transform_weights<2, 5>(kernels, weights, products);
  return std::make_unique<Winograd>(side, kernels, images, products, std::move(filters), refs);
}

}  // namespace secateur
