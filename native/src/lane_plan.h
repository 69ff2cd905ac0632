// How a convolution is cut into lanes, tiles, bands and blocks: geometry alone, decided once per layer and batch size.
#pragma once

#include <cstdint>
#include <vector>

#include "secateur/weighted.h"
#include "weighted_kernels.h"

namespace secateur {

// A rectangle of a region's pixels that the micro-kernel computes at once.
struct LaneTile {
  std::int64_t row, column, rows, columns;  // within the band
  std::int64_t pixel;                       // pixels of the band before it
};

// The tiles of a band of some height, and where each pixel's sums lie.
struct BandLayout {
  std::int64_t rows = 0;
  std::vector<LaneTile> tiles;
};

struct LanePlan {
  ConvolutionShape shape;
  std::int64_t lanes = 8;                                         // of a vector
  std::int64_t lane_images = 1, lane_rows = 1, lane_columns = 1;  // their product is `lanes`
  std::int64_t region_rows = 1, region_columns = 1;               // a lane's part of the output
  std::int64_t tile_rows = 1, tile_columns = 1;
  std::int64_t band_rows = 1;  // rows of a region that are packed together; they hold whole pool windows, like regions
  std::int64_t block = 1;      // positions of a filter that go together
  std::int64_t slice = 1;      // output channels of an item
  bool small = false;          // not worth a second thread

  std::int64_t group_in() const { return shape.in_channels / shape.groups; }
  std::int64_t group_out() const { return shape.out_channels / shape.groups; }
  std::int64_t taps() const { return shape.kernel_height * shape.kernel_width; }
  std::int64_t positions() const { return group_in() * taps(); }
  std::int64_t blocks() const { return (positions() + block - 1) / block; }
  std::int64_t slices() const { return (group_out() + slice - 1) / slice; }
  std::int64_t bands() const { return (region_rows + band_rows - 1) / band_rows; }
  std::int64_t band_windows() const {  // of a lane, in a band of full height
    return band_rows / shape.pool_height * (region_columns / shape.pool_width);
  }
  std::int64_t image_groups() const { return (shape.images + lane_images - 1) / lane_images; }

  // Of the packed input: columns of a stride's phase lie together, so that neighbours of the output are neighbours.
  std::int64_t window_rows(std::int64_t rows) const;
  std::int64_t window_columns() const;
  std::int64_t phase_pitch() const;
  std::int64_t pitch() const;                                              // vectors of a row
  bool addressable() const;                                                // whether 16 bits hold every block offset
  std::int64_t plane() const { return window_rows(band_rows) * pitch(); }  // vectors of a channel
  std::int64_t row_step() const { return shape.stride_height * pitch(); }  // vectors from row to row of the output

  // Of each position: bytes from the packed band's beginning; vectors from the first channel of its block.
  std::vector<std::int32_t> offsets() const;
  std::vector<std::uint16_t> block_offsets() const;
  std::int64_t block_channel(std::int64_t block_index) const { return block_index * block / taps(); }
  std::vector<std::int32_t> places() const;  // floats, of each column of the window; negative where no tap comes
  std::vector<bool> used_rows() const;       // of the window, those where a tap comes
  std::int64_t kept_rows() const;            // the first rows of a window that are the last of the band's above it
  BandLayout band_layout(std::int64_t rows) const;
};

// What decides beside the shape: how much work there is.
struct LaneWork {
  double nonzeros = 0;  // of the whole matrix
  bool images = false;  // lanes may be images
  bool panel = false;
};

// So many of a tile's pixels go in a group. One more than a group can have go in two of two: a group of one waits for its
// own sums.
std::int64_t panel_together(std::int64_t pixels, const WeightedKernels& kernels);

// Cycles of a panel of channels, at one position of the filters and so many pixels.
double panel_cycles(std::int64_t pixels, const WeightedKernels& kernels);

// At least so many slices of `channels` that there are items enough for some threads, and an even number of them where
// they are few; `others` counts the items of a slice.
std::int64_t balanced_slices(std::int64_t slices, std::int64_t channels, std::int64_t others);

// Work of about five microseconds: below it a second thread costs more than it brings.
constexpr double SMALL_CYCLES = 15e3;

LanePlan plan_lanes(const ConvolutionShape& shape, const WeightedKernels& kernels, const LaneWork& work);

// A linear layer is the convolution of a row of pixels, each of them as many rows of the batch as a vector has lanes.
LanePlan plan_batch(const LinearShape& shape, const WeightedKernels& kernels, const LaneWork& work);

}  // namespace secateur
