// Between images and tiles, for runs of them: the lines that an input's transform reads, and those of sums that an output's
// transform leaves.
#pragma once

#include <algorithm>
#include <cstdint>

#include "aligned.h"
#include "lane_product.h"
#include "sizes.h"
#include "winograd_tiles.h"

namespace secateur {

class WinogradLines {
 public:
  // `vectors`: of a run of full length.
  WinogradLines(const WinogradTiles& tiles, const WeightedKernels& kernels, const LayerRefs& refs, std::int64_t vectors)
      : tiles_(tiles), kernels_(kernels), refs_(refs), width_(vectors * kernels.lanes) {}

  std::int64_t width() const noexcept { return width_; }  // tiles of a line
  std::int64_t first_tile(std::int64_t run) const noexcept { return run * width_; }
  std::int64_t line_step() const noexcept { return width_ * tiles_.side; }
  std::int64_t tile_count(std::int64_t run) const noexcept {
    return std::min(width_, tiles_.count() - first_tile(run));
  }
  std::int64_t vectors(std::int64_t run) const noexcept { return ceil_div(tile_count(run), kernels_.lanes); }

  struct Scratch {
    LineCopy* copies;    // of the input
    LineCopy* finished;  // of the output
    float* lines;        // of a channel of the input, then of channels of the output
  };
  // `channels`: of the output, whose lines are there at once.
  Scratch carve(Carver& parts, std::int64_t channels) const noexcept;

  // The lines of a run, still to be read, of zeros.
  WinogradInput blank(std::int64_t run, const Scratch& scratch) const noexcept;
  // Reads a run's tiles of the channels from `channel` on; which of them, and where they go, is still to be filled in.
  WinogradInput input(std::int64_t run, std::int64_t channel, const Memory& memory, const Scratch& scratch) const noexcept;

  // How many pieces of the output a channel's lines of a run are.
  std::int64_t pieces(std::int64_t run, const Scratch& scratch) const noexcept;
  // Bias, residual and activation of an output channel, and the maxima of its windows; `lines`, which begin its own, do
  // not survive those.
  void finish(std::int64_t channel, float* lines, std::int64_t pieces, const Memory& memory,
              const Scratch& scratch) const noexcept;

 private:
  std::int64_t input_line_count() const noexcept { return tiles_.reach() * tiles_.shifts(); }

  const WinogradTiles tiles_;
  const WeightedKernels& kernels_;
  const LayerRefs refs_;
  const std::int64_t width_;
};

}  // namespace secateur
