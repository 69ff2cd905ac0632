#include "lane_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "caches.h"
#include "sizes.h"

namespace secateur {
namespace {

// What of the first-level cache a block of the input may fill: the weights and the sums stream through the rest. More
// than this helps wide vectors, whose blocks hold few channels, on processors that have more.
std::int64_t sparse_block_bytes(std::int64_t lanes) {
  static const std::int64_t wide = first_level_bytes() / 4 * 3;
  return lanes > 8 ? wide : 24 * 1024;
}
constexpr std::int64_t PANEL_BLOCK_BYTES = 18 * 1024;
// The sums of an item stay in the second-level cache.
constexpr std::int64_t SLICE_BYTES = 288 * 1024;
constexpr std::int64_t MAX_BLOCK = 256;
constexpr std::int64_t MAX_OFFSETS = 65536;
constexpr std::int64_t ENOUGH_ITEMS = 8;
constexpr std::int64_t LEAST_CHANNELS = 24;  // of a slice: loading its tiles is shared by no fewer

// Bytes of one channel of the packed input that a tile reads.
std::int64_t footprint(const ConvolutionShape& s, std::int64_t lanes, std::int64_t rows, std::int64_t columns) {
  const std::int64_t high =
      std::min((rows - 1) * s.stride_height + (s.kernel_height - 1) * s.dilation_height + 1, rows * s.kernel_height);
  const std::int64_t wide =
      std::min((columns - 1) * s.stride_width + (s.kernel_width - 1) * s.dilation_width + 1, columns * s.kernel_width);
  return high * wide * lanes * 4;
}

std::int64_t block_positions(const LanePlan& plan, std::int64_t bytes) {
  const std::int64_t taps = plan.taps();
  if (taps > MAX_BLOCK) return MAX_BLOCK;
  const std::int64_t one = footprint(plan.shape, plan.lanes, plan.tile_rows, plan.tile_columns);
  // A long row takes many vectors, and a block's offsets are 16 bits of them.
  const std::int64_t most = std::min({MAX_BLOCK / taps, plan.group_in(), MAX_OFFSETS / plan.plane()});
  const std::int64_t channels = std::max<std::int64_t>(1, std::min(bytes / one, most));
  // Equal blocks rather than full ones and a rest.
  return ceil_div(plan.group_in(), ceil_div(plan.group_in(), channels)) * taps;
}

// Products with vectors from memory, two a cycle. Ice Lake takes as long for each half of a wider vector.
double vector_cycles(double vectors, std::int64_t lanes) { return 0.53 * (lanes > 8 ? 2 * vectors : vectors); }

// Cycles for one non-zero and a tile of that many vectors, fitted to Zen 3: what bounds it are the loads, two a cycle,
// of the pixels, the weight and its offset. (Eight-bit displacements from hidden pointers, loads apart from the
// products and other shapes of tile changed nothing or were slower.) One cycle is for the look-up of the offset.
double entry_cycles(double vectors, std::int64_t lanes) { return 1.2 + vector_cycles(vectors, lanes) + 1.0; }

// Short runs of non-zeros, as convolutions have them, cost so much at least.
double nonzero_cycles(double vectors, std::int64_t lanes) { return std::max(5.4, entry_cycles(vectors, lanes)); }

// Of one output channel to a block, whatever there is.
double visit_cycles(double vectors, std::int64_t lanes) { return 8.0 + 3 * vector_cycles(vectors, lanes); }

std::int64_t count_slices(const LanePlan& plan, std::int64_t channels) {
  const std::int64_t channel_bytes = plan.band_rows * plan.region_columns * plan.lanes * 4;
  return ceil_div(channels * channel_bytes, SLICE_BYTES);
}

// A tile's block comes from the third-level cache once for every slice.
double tile_load_cost(const LanePlan& plan, const LaneTile& tile) {
  constexpr double LINE = 8;
  const double bytes = static_cast<double>(footprint(plan.shape, plan.lanes, tile.rows, tile.columns));
  return LINE / 64 * bytes * static_cast<double>(plan.shape.in_channels * count_slices(plan, plan.group_out()));
}

double sparse_cost(const LanePlan& plan, double nonzeros) {
  const double visits = static_cast<double>(plan.blocks() * plan.group_out() * plan.shape.groups);
  double cycles = 0;
  for (const LaneTile& tile : plan.band_layout(plan.region_rows).tiles) {
    const double vectors = static_cast<double>(tile.rows * tile.columns);
    cycles += nonzeros * nonzero_cycles(vectors, plan.lanes) + visits * visit_cycles(vectors, plan.lanes);
    cycles += tile_load_cost(plan, tile);
  }
  return cycles * static_cast<double>(plan.image_groups());
}

double panel_cost(const LanePlan& plan, const WeightedKernels& kernels) {
  const std::int64_t rest = plan.group_out() % kernels.panel_channels;
  constexpr double HALF = 0.6;  // of a whole panel's time: it loads as many pixels
  const double last = rest == 0 ? 0.0 : 2 * rest <= kernels.panel_channels ? HALF : 1.0;
  const double panels =
      (static_cast<double>(plan.group_out() / kernels.panel_channels) + last) * static_cast<double>(plan.shape.groups);
  double cycles = 0;
  for (const LaneTile& tile : plan.band_layout(plan.region_rows).tiles) {
    cycles += panel_cycles(tile.rows * tile.columns, kernels) *
              static_cast<double>(plan.positions() + 5 * plan.blocks()) * panels;
    cycles += tile_load_cost(plan, tile);
  }
  return cycles * static_cast<double>(plan.image_groups());
}

// As `sparse_cost`, for rows of a batch: nothing is looked up, the runs of non-zeros are long, and narrow tiles cost what
// they must.
double batch_cost(const LanePlan& plan, double nonzeros) {
  const double visits = static_cast<double>(plan.blocks() * plan.shape.out_channels);
  const double vectors = static_cast<double>(plan.region_columns);
  const double cycles = nonzeros * (1.0 + vector_cycles(vectors, plan.lanes)) + visits * visit_cycles(vectors, plan.lanes);
  return cycles * static_cast<double>(plan.image_groups());
}

constexpr double TRANSPOSITION = 30;  // of eight by eight

// Of a group of rows, that many floats each.
double transposing_cost(const LanePlan& plan, std::int64_t floats) {
  return static_cast<double>(ceil_div(floats, 8) * plan.lane_images) / 8 * TRANSPOSITION;
}

// Of a group's packed rows, for every slice, from the second-level cache: a line a cycle.
double reading_cost(const LanePlan& plan) {
  return static_cast<double>(plan.shape.in_channels * plan.lane_images * plan.slices()) * 4 / 64;
}

// Both go through transpositions of eight by eight; rows that the band above has packed are moved.
double moving_cost(const LanePlan& plan) {
  constexpr double CALL = 15;
  const double blocks = static_cast<double>(plan.lanes) / 8 * TRANSPOSITION;
  constexpr double MOVED = 0.25;
  const double groups = static_cast<double>(plan.image_groups());
  const double bands = static_cast<double>(plan.bands());
  const std::int64_t window = plan.window_rows(plan.band_rows);
  const double rows = bands * static_cast<double>(window) -
                      (bands - 1) * (1 - MOVED) * static_cast<double>(plan.kept_rows());
  const double pack =
      rows * static_cast<double>(plan.shape.in_channels * ceil_div(plan.window_columns(), 8)) * blocks;
  const bool whole = plan.lane_columns == 1;
  const std::int64_t band_rows = plan.band_rows / plan.shape.pool_height;
  const std::int64_t runs = whole ? 1 : band_rows;
  const std::int64_t pixels = plan.region_columns / plan.shape.pool_width * (whole ? band_rows : 1);
  const double lines =
      static_cast<double>(plan.lanes / plan.lane_columns) * CALL + static_cast<double>(plan.lanes * pixels) / 8;
  const double finish = static_cast<double>(plan.shape.out_channels * runs) *
                        (static_cast<double>(ceil_div(pixels, 8)) * blocks + lines);
  return groups * (pack + bands * finish);
}

}  // namespace

std::int64_t panel_together(std::int64_t pixels, const WeightedKernels& kernels) {
  return kernels.panel_pixels == 3 && pixels == 4 ? 2 : kernels.panel_pixels;
}

double panel_cycles(std::int64_t pixels, const WeightedKernels& kernels) {
  // Two products a cycle, or two loads: of the weights, the pixels, an index and its offset.
  const auto group = [&](std::int64_t together) {
    const auto count = static_cast<double>(together);
    return 0.5 * std::max(kernels.panel_channels * count, kernels.panel_channels + count + 3.0);
  };
  const std::int64_t together = panel_together(pixels, kernels);
  const std::int64_t rest = pixels % together;
  const double full = static_cast<double>(pixels / together) * group(together);
  constexpr double FEWER = 1.5;  // a group that is not full hides less of what it waits for
  return rest == 0 ? full : full + group(rest) + FEWER;
}

std::int64_t balanced_slices(std::int64_t slices, std::int64_t channels, std::int64_t others) {
  while (others * slices < ENOUGH_ITEMS && channels / (slices + 1) >= LEAST_CHANNELS) ++slices;
  const std::int64_t items = others * slices;
  if (items % 2 == 1 && items < 4 * ENOUGH_ITEMS && channels / (slices + 1) >= LEAST_CHANNELS) ++slices;
  return slices;
}

std::int64_t LanePlan::window_rows(std::int64_t rows) const {
  return (rows - 1) * shape.stride_height + (shape.kernel_height - 1) * shape.dilation_height + 1;
}

std::int64_t LanePlan::window_columns() const {
  return (region_columns - 1) * shape.stride_width + (shape.kernel_width - 1) * shape.dilation_width + 1;
}

std::int64_t LanePlan::phase_pitch() const { return ceil_div(window_columns(), shape.stride_width); }

// Where a tile is narrower than its region, the pieces it reads lie a pitch apart: an even number of cache lines would
// put them all into some of the cache's sets (a 28 x 28 layer lost a third of its speed to a pitch of eight lines).
std::int64_t LanePlan::pitch() const {
  const std::int64_t least = phase_pitch() * shape.stride_width;
  if (tile_columns == region_columns) return least;
  const std::int64_t vectors_of_line = std::max<std::int64_t>(1, 64 / (4 * lanes));
  return least % (2 * vectors_of_line) == 0 ? least + vectors_of_line : least;
}

std::vector<std::int32_t> LanePlan::offsets() const {
  std::vector<std::int32_t> out;
  out.reserve(static_cast<std::size_t>(positions()));
  for (std::int64_t channel = 0; channel < group_in(); ++channel) {
    for (std::int64_t row = 0; row < shape.kernel_height; ++row) {
      for (std::int64_t column = 0; column < shape.kernel_width; ++column) {
        const std::int64_t shift = column * shape.dilation_width;
        const std::int64_t vector = channel * plane() + row * shape.dilation_height * pitch() +
                                    shift % shape.stride_width * phase_pitch() + shift / shape.stride_width;
        out.push_back(static_cast<std::int32_t>(vector * lanes * 4));
      }
    }
  }
  return out;
}

std::vector<std::uint16_t> LanePlan::block_offsets() const {
  std::vector<std::uint16_t> out;
  const std::vector<std::int32_t> bytes = offsets();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::int64_t channel = block_channel(static_cast<std::int64_t>(i) / block);
    out.push_back(static_cast<std::uint16_t>(bytes[i] / (4 * lanes) - channel * plane()));
  }
  return out;
}

bool LanePlan::addressable() const {
  const std::int64_t channels = ceil_div(block, taps()) + (block % taps() != 0 ? 1 : 0);
  return std::min(channels, group_in()) * plane() <= MAX_OFFSETS;
}

std::vector<std::int32_t> LanePlan::places() const {
  std::vector<std::int32_t> out(static_cast<std::size_t>(window_columns()), -1);
  for (std::int64_t tap = 0; tap < shape.kernel_width; ++tap) {
    for (std::int64_t pixel = 0; pixel < region_columns; ++pixel) {
      const std::int64_t column = pixel * shape.stride_width + tap * shape.dilation_width;
      const std::int64_t vector = column % shape.stride_width * phase_pitch() + column / shape.stride_width;
      out[static_cast<std::size_t>(column)] = static_cast<std::int32_t>(vector * lanes);
    }
  }
  return out;
}

std::vector<bool> LanePlan::used_rows() const {
  std::vector<bool> out(static_cast<std::size_t>(window_rows(band_rows)));
  for (std::int64_t tap = 0; tap < shape.kernel_height; ++tap) {
    for (std::int64_t row = 0; row < band_rows; ++row) {
      out[static_cast<std::size_t>(row * shape.stride_height + tap * shape.dilation_height)] = true;
    }
  }
  return out;
}

// None where one of them has not been packed above: between taps that lie far apart there are rows that nobody needs.
std::int64_t LanePlan::kept_rows() const {
  const std::int64_t down = band_rows * shape.stride_height;
  const std::int64_t kept = std::max<std::int64_t>(0, window_rows(band_rows) - down);
  const std::vector<bool> used = used_rows();
  for (std::int64_t row = 0; row < kept; ++row) {
    if (used[static_cast<std::size_t>(row)] && !used[static_cast<std::size_t>(row + down)]) return 0;
  }
  return kept;
}

BandLayout LanePlan::band_layout(std::int64_t rows) const {
  BandLayout layout;
  layout.rows = rows;
  std::int64_t pixel = 0;
  for (std::int64_t row = 0; row < rows; row += tile_rows) {
    for (std::int64_t column = 0; column < region_columns; column += tile_columns) {
      const LaneTile tile{row, column, std::min(tile_rows, rows - row), std::min(tile_columns, region_columns - column),
                          pixel};
      layout.tiles.push_back(tile);
      pixel += tile.rows * tile.columns;
    }
  }
  return layout;
}

namespace {

void choose_tile(LanePlan& plan, const WeightedKernels& kernels, const LaneWork& work, double& best, LanePlan& chosen) {
  const std::int64_t pixels = work.panel ? 4 * kernels.max_tile / 2 : kernels.max_tile;
  const std::int64_t bytes = work.panel ? PANEL_BLOCK_BYTES : sparse_block_bytes(plan.lanes);
  const std::int64_t most_rows = std::min<std::int64_t>(plan.region_rows, MAX_TILE_ROWS);
  const std::int64_t window = plan.shape.pool_height;
  for (plan.tile_rows = 1; plan.tile_rows <= most_rows; ++plan.tile_rows) {
    if (plan.tile_rows % window != 0 && window % plan.tile_rows != 0) continue;
    const std::int64_t most = std::min<std::int64_t>({plan.region_columns, pixels / plan.tile_rows, MAX_TILE_COLUMNS});
    for (plan.tile_columns = 1; plan.tile_columns <= most; ++plan.tile_columns) {
      plan.band_rows = std::max(plan.tile_rows, window);
      plan.block = block_positions(plan, bytes);
      if (!work.panel && !plan.addressable()) continue;
      const double product = work.panel ? panel_cost(plan, kernels) : sparse_cost(plan, work.nonzeros);
      const double cost = product + moving_cost(plan);
      if (cost < best) {
        best = cost;
        chosen = plan;
      }
    }
  }
}

// The output channels of an item: few enough for the cache, and items enough for some threads.
void choose_slices(LanePlan& chosen, const WeightedKernels& kernels, const LaneWork& work, double cycles) {
  const std::int64_t unit = work.panel ? kernels.panel_channels : 1;
  chosen.small = cycles < SMALL_CYCLES;
  const std::int64_t all = ceil_div(chosen.group_out(), unit) * unit;
  std::int64_t slices = count_slices(chosen, all);
  const std::int64_t others = chosen.image_groups() * chosen.bands() * chosen.shape.groups;
  if (cycles > 2 * SMALL_CYCLES) slices = balanced_slices(slices, all, others);
  chosen.slice = ceil_div(ceil_div(all, slices), unit) * unit;
}

}  // namespace

LanePlan plan_lanes(const ConvolutionShape& shape, const WeightedKernels& kernels, const LaneWork& work) {
  LanePlan plan;
  plan.shape = shape;
  // What no window holds is not computed.
  plan.shape.out_height = shape.pooled_height() * shape.pool_height;
  plan.shape.out_width = shape.pooled_width() * shape.pool_width;
  plan.lanes = kernels.lanes;
  LanePlan chosen = plan;
  double best = std::numeric_limits<double>::infinity();
  for (plan.lane_images = work.images ? 2 : 1; plan.lane_images <= plan.lanes; plan.lane_images *= 2) {
    for (plan.lane_rows = 1; plan.lane_images * plan.lane_rows <= plan.lanes; plan.lane_rows *= 2) {
      plan.lane_columns = plan.lanes / plan.lane_images / plan.lane_rows;
      plan.region_rows = ceil_div(shape.pooled_height(), plan.lane_rows) * shape.pool_height;
      plan.region_columns = ceil_div(shape.pooled_width(), plan.lane_columns) * shape.pool_width;
      choose_tile(plan, kernels, work, best, chosen);
    }
    if (!work.images) break;
  }
  choose_slices(chosen, kernels, work, best);
  return chosen;
}

LanePlan plan_batch(const LinearShape& shape, const WeightedKernels& kernels, const LaneWork& work) {
  LanePlan plan;
  plan.shape.images = shape.rows;
  plan.shape.in_channels = shape.in;
  plan.shape.out_channels = shape.out;
  plan.lanes = kernels.lanes;
  plan.lane_columns = 1;
  LanePlan chosen = plan;
  double best = std::numeric_limits<double>::infinity();
  const std::int64_t vectors = ceil_div(shape.rows, plan.lanes);
  const std::int64_t most = std::min<std::int64_t>(work.panel ? MAX_TILE_COLUMNS : kernels.max_tile, vectors);
  for (std::int64_t columns = 1; columns <= most; ++columns) {
    plan.region_columns = plan.tile_columns = columns;
    plan.lane_images = plan.lanes * columns;
    plan.block = block_positions(plan, work.panel ? PANEL_BLOCK_BYTES : sparse_block_bytes(plan.lanes));
    const double product = work.panel ? panel_cost(plan, kernels) : batch_cost(plan, work.nonzeros);
    const double all_groups = static_cast<double>(plan.image_groups());
    const double packing = transposing_cost(plan, shape.in);
    const double shared = product + all_groups * transposing_cost(plan, shape.out);
    choose_slices(plan, kernels, work, shared + all_groups * packing);
    // Two threads have one half of the items each. Where the halves share rows, both pack them, and every slice reads
    // them again; and the next layer finds half of what it reads in the other thread's cache.
    const double threads = plan.small ? 1 : 2;
    const double groups = std::ceil(static_cast<double>(plan.image_groups()) / threads);
    const double cost = shared / threads + groups * (packing + reading_cost(plan));
    if (cost < best) {
      best = cost;
      chosen = plan;
    }
  }
  return chosen;
}

}  // namespace secateur
