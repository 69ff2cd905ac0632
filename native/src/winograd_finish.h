// From the lines of sums that an output's transform leaves to the output.
#pragma once

#include <cstdint>

#include "lane_product.h"
#include "winograd_tiles.h"

namespace secateur {

class WinogradFinish {
 public:
  WinogradFinish(const WinogradTiles& tiles, const WeightedKernels& kernels, const LayerRefs& refs)
      : tiles_(tiles), kernels_(kernels), refs_(refs) {}

  // Floats beyond the last line that are read, not used.
  static constexpr std::int64_t SLACK = 2 * MAX_LANES;

  // What goes from the lines of so many tiles to the output's first channel; no more than side * stretches.
  std::int64_t runs(std::int64_t first, std::int64_t count, std::int64_t width, LineCopy* runs) const noexcept {
    return output_lines(tiles_, first, count, width, runs);
  }

  // Bias, residual and activation of one output channel, and the maxima of its windows; `lines` do not survive those.
  void channel(std::int64_t channel, float* lines, std::int64_t line_step, const LineCopy* runs, std::int64_t count,
               const Memory& memory) const noexcept;

 private:
  const WinogradTiles tiles_;
  const WeightedKernels& kernels_;
  const LayerRefs refs_;
};

}  // namespace secateur
