// A convolution of stride s as one of stride 1: every channel falls apart into the s x s images of its every s-th row and
// column, and every filter into as many of its every s-th tap, the last of which are filled up with zeros.
#pragma once

#include <algorithm>
#include <cstdint>

#include "aligned.h"
#include "secateur/weighted.h"
#include "weighted_kernels.h"
#include "winograd_tiles.h"

namespace secateur {

// Of a filter of so many taps, those from a stride to the next: four are filled up to five, which have a transform.
std::int64_t phase_taps(std::int64_t taps, std::int64_t stride);

// The convolution of stride 1. Its images begin with the first pad and end with the last number that is read; channels
// are (channel of the group, row of the phase, column of the phase). Itself where the stride is 1.
ConvolutionShape polyphase(const ConvolutionShape& shape);

// Where a weight of the convolution of stride s is in that of stride 1, which has `taps` a side.
struct PhaseTap {
  std::int64_t channel, tap;
};
PhaseTap phase_tap(const ConvolutionShape& shape, std::int64_t taps, std::int64_t position);

// The rows of the phases that a run of tiles reads, of `stride` channels at a time: those of a channel's rows that lie a
// stride apart, by the column they begin with.
class PhaseRows {
 public:
  // `tiles`: of the convolution of stride 1; no more than `most` go at once.
  PhaseRows(const ConvolutionShape& shape, const WinogradTiles& tiles, const WeightedKernels& kernels, std::int64_t most);

  struct Scratch {
    float* row;   // of the image, with zeros around it
    float* rows;  // [stride][stretches of tiles][rows of a tile][row_step]
  };
  Scratch carve(Carver& parts) const noexcept;

  std::int64_t channels() const noexcept { return shape_.stride_height; }
  // Of the image, those that windows read: what the stride leaves over, or only taps of zero meet, would come into sums of
  // tiles, and stay in them if it is NaN.
  std::int64_t read_rows() const noexcept {
    return std::min(shape_.in_height, (shape_.out_height - 1) * channels() + shape_.kernel_height - shape_.pad_top);
  }
  std::int64_t read_columns() const noexcept {
    return std::min(shape_.in_width, (shape_.out_width - 1) * channels() + shape_.kernel_width - shape_.pad_left);
  }
  std::int64_t channel_step() const noexcept { return stretches_ * tiles_.reach() * row_step_; }

  // As input_lines(), of these rows.
  std::int64_t lines(std::int64_t first, std::int64_t count, std::int64_t width, LineCopy* copies) const noexcept;

  // Of the phases that begin with the row `phase`, from a channel of the first image.
  void split(std::int64_t first, std::int64_t count, const float* channel, std::int64_t phase,
             const Scratch& scratch) const noexcept;

 private:
  // Of a phase, that the lines of so many tiles from a column of them on are copied from.
  std::int64_t columns(std::int64_t tile, std::int64_t count) const noexcept {
    const std::int64_t x = tile * tiles_.side;
    return std::min((count + tiles_.shifts() - 1) * tiles_.side, tiles_.shape.in_width - x);
  }

  const ConvolutionShape shape_;
  const WinogradTiles tiles_;
  const WeightedKernels& kernels_;
  const std::int64_t stretches_;
  const std::int64_t row_step_;
};

}  // namespace secateur
