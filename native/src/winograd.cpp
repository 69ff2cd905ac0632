#include "winograd.h"

#include <algorithm>
#include <vector>

#include "lane_images.h"
#include "matrix_entries.h"

namespace secateur {
namespace {

constexpr std::int64_t POINTS = 16;  // products of a tile
// The transformed input of a band and the products of a slice go through the caches together.
constexpr std::int64_t BAND_TILES = 14;
constexpr std::int64_t PRODUCT_BYTES = 384 * 1024;
constexpr std::int64_t BLOCK_BYTES = 18 * 1024;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// G g G^T with G = (1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1): exact for integers below 2^21.
void transform_filter(const float (&g)[9], float (&u)[POINTS]) {
  float half[4][3];
  for (int j = 0; j < 3; ++j) {
    half[0][j] = g[j];
    half[1][j] = 0.5f * ((g[j] + g[6 + j]) + g[3 + j]);
    half[2][j] = 0.5f * ((g[j] + g[6 + j]) - g[3 + j]);
    half[3][j] = g[6 + j];
  }
  for (int i = 0; i < 4; ++i) {
    u[4 * i] = half[i][0];
    u[4 * i + 1] = 0.5f * ((half[i][0] + half[i][2]) + half[i][1]);
    u[4 * i + 2] = 0.5f * ((half[i][0] + half[i][2]) - half[i][1]);
    u[4 * i + 3] = half[i][2];
  }
}

// [points][groups][out channels of the group][in channels of the group]: the points are groups of a product.
std::vector<float> transform_weights(const WeightedKernels& kernels, const Matrix& weights) {
  const std::int64_t channels = weights.length / 9;
  std::vector<float> out(static_cast<std::size_t>(POINTS * weights.lines * channels));
  std::vector<float> line(static_cast<std::size_t>(weights.length));
  const auto emit = [&](std::int64_t at) {
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      float g[9];
      float u[POINTS];
      std::copy_n(line.begin() + channel * 9, 9, g);
      transform_filter(g, u);
      for (std::int64_t point = 0; point < POINTS; ++point) {
        out[static_cast<std::size_t>((point * weights.lines + at) * channels + channel)] = u[point];
      }
    }
  };
  std::int64_t current = 0;
  each_nonzero(weights, [&](std::int64_t at, std::int64_t position, std::int64_t entry) {
    if (at != current) {
      emit(current);
      std::fill(line.begin(), line.end(), 0.0f);
      current = at;
    }
    const std::byte* const value = static_cast<const std::byte*>(weights.values) + entry * value_bytes(weights.type);
    kernels.widen(value, weights.type, 1, &line[static_cast<std::size_t>(position)]);
  });
  emit(current);
  return out;
}

// The geometry of the convolution: regions of whole tiles, bands of whole rows of them.
LanePlan plan_images(const ConvolutionShape& shape, const WeightedKernels& kernels) {
  LanePlan plan;
  plan.shape = shape;
  plan.lanes = kernels.lanes;
  LanePlan chosen = plan;
  std::int64_t least = INT64_MAX;
  for (plan.lane_images = 1; plan.lane_images <= plan.lanes; plan.lane_images *= 2) {
    if (plan.lane_images >= 2 * shape.images) break;
    for (plan.lane_rows = 1; plan.lane_images * plan.lane_rows <= plan.lanes; plan.lane_rows *= 2) {
      plan.lane_columns = plan.lanes / plan.lane_images / plan.lane_rows;
      const std::int64_t rows = divide_up(divide_up(shape.out_height, plan.lane_rows), 2);
      const std::int64_t columns = divide_up(divide_up(shape.out_width, plan.lane_columns), 2);
      plan.region_rows = 2 * rows;
      plan.region_columns = 2 * columns;
      plan.band_rows = 2 * std::min(rows, std::max<std::int64_t>(1, BAND_TILES / columns));
      // Groups of pixels that are not full compute something twice.
      const std::int64_t tiles = plan.band_rows / 2 * columns;
      const std::int64_t padded = divide_up(tiles, kernels.panel_pixels) * kernels.panel_pixels;
      const std::int64_t cost = plan.image_groups() * plan.bands() * padded;
      if (cost < least ||
          (cost == least && tiles <= BAND_TILES && chosen.band_rows / 2 * chosen.region_columns / 2 > BAND_TILES)) {
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
LanePlan plan_products(const LanePlan& images, const WeightedKernels& kernels) {
  LanePlan plan;
  plan.shape.groups = POINTS * images.shape.groups;
  plan.shape.in_channels = POINTS * images.shape.in_channels;
  plan.shape.out_channels = POINTS * images.shape.out_channels;
  plan.lanes = kernels.lanes;
  plan.lane_columns = plan.lanes;
  plan.region_columns = plan.tile_columns = images.band_rows / 2 * (images.region_columns / 2);
  const std::int64_t bytes = plan.region_columns * plan.lanes * 4;
  const std::int64_t channels = std::clamp<std::int64_t>(BLOCK_BYTES / bytes, 1, 256);
  plan.block = divide_up(plan.group_in(), divide_up(plan.group_in(), channels));
  const std::int64_t unit = kernels.panel_channels;
  const std::int64_t all = divide_up(plan.group_out(), unit);
  const std::int64_t others = images.image_groups() * images.bands() * images.shape.groups;
  std::int64_t slices = divide_up(all * unit * POINTS * bytes, PRODUCT_BYTES);
  // Two fused multiply-adds a cycle.
  const double cycles = 0.5 * POINTS * static_cast<double>(plan.group_in() * all * unit * plan.region_columns * others);
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
  Winograd(const WeightedKernels& kernels, const LanePlan& images, const LanePlan& products, const Matrix& transformed,
           const LayerRefs& refs)
      : kernels_(kernels),
        plan_(with_slice(images, products.slice)),
        product_(kernels, products, transformed, true),
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
        kernels_.winograd_input({s.packed, plan_.plane() * plan_.lanes, plan_.pitch() * plan_.lanes, tile_rows(unit),
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

  std::int64_t tile_columns() const noexcept { return plan_.region_columns / 2; }
  std::int64_t tile_rows(const LaneUnit& unit) const noexcept {
    return std::min(plan_.band_rows, plan_.region_rows - unit.band * plan_.band_rows) / 2;
  }
  // Floats of the transformed input of a point, for a band of full height.
  std::int64_t tiles_step() const noexcept {
    return plan_.group_in() * (plan_.band_rows / 2) * tile_columns() * plan_.lanes;
  }

  Scratch carve(Carver& parts) const noexcept {
    const std::size_t lanes = static_cast<std::size_t>(plan_.lanes);
    Scratch s;
    s.packed = parts.take<float>(static_cast<std::size_t>(plan_.group_in() * plan_.plane()) * lanes);
    s.tiles = parts.take<float>(static_cast<std::size_t>(POINTS * tiles_step()));
    s.products = parts.take<float>(static_cast<std::size_t>(POINTS) * product_.sums_floats());
    s.sums = parts.take<float>(static_cast<std::size_t>(plan_.slice * plan_.band_rows * plan_.region_columns) * lanes);
    s.line = parts.take<float>(images_.line_floats());
    s.product = product_.carve(parts);
    return s;
  }

  void multiply(const LaneUnit& unit, const Scratch& s) const noexcept {
    const Band& band = product_.band(0);
    const std::int64_t products_step = static_cast<std::int64_t>(product_.sums_floats());
    for (std::int64_t point = 0; point < POINTS; ++point) {
      product_.multiply(point * plan_.shape.groups + unit.group, unit.slice, band, s.tiles + point * tiles_step(),
                        s.products + point * products_step, s.product);
    }
    const std::int64_t channels = std::min(plan_.slice, plan_.group_out() - unit.slice * plan_.slice);
    kernels_.winograd_output({s.products, products_step, band.places.data(), band.steps.data(), channels,
                              plan_.band_rows / 2, tile_columns(), s.sums});
  }

  const WeightedKernels& kernels_;
  const LanePlan plan_;
  const LaneProduct product_;
  const LaneImages images_;
  std::vector<std::int32_t> places_;
  std::vector<std::int32_t> steps_;
};

}  // namespace

bool winograd_applicable(const ConvolutionShape& s) {
  return s.kernel_height == 3 && s.kernel_width == 3 && s.stride_height == 1 && s.stride_width == 1 &&
         s.dilation_height == 1 && s.dilation_width == 1;
}

std::unique_ptr<WeightedStep> make_winograd(const WeightedKernels& kernels, const ConvolutionShape& shape,
                                            const Matrix& weights, const LayerRefs& refs) {
  const std::vector<float> transformed = transform_weights(kernels, weights);
  const std::int64_t channels = weights.length / 9;
  const Matrix view{LayoutKind::dense,
                    ValueType::float32,
                    POINTS * weights.lines,
                    channels,
                    POINTS * weights.lines * channels,
                    transformed.data(),
                    nullptr,
                    nullptr};
  const LanePlan images = plan_images(shape, kernels);
  return std::make_unique<Winograd>(kernels, images, plan_products(images, kernels), view, refs);
}

}  // namespace secateur
