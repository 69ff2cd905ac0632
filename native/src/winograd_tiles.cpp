#include "winograd_tiles.h"

namespace secateur {

std::int64_t input_lines(const WinogradTiles& tiles, std::int64_t first, std::int64_t count, std::int64_t width,
                         LineCopy* copies) {
  const ConvolutionShape& s = tiles.shape;
  const std::int64_t side = tiles.side;
  LineCopy* next = copies;
  tiles.each_stretch(first, count, [&](const TileStretch& stretch) {
    const std::int64_t image = stretch.image * s.in_channels * s.in_height * s.in_width;
    for (std::int64_t i = 0; i < tiles.reach(); ++i) {
      const std::int64_t y = stretch.row * side + i - s.pad_top;
      if (y < 0 || y >= s.in_height) continue;
      for (std::int64_t shift = 0; shift < tiles.shifts(); ++shift) {
        const std::int64_t x = (stretch.column + shift) * side - s.pad_left;
        const std::int64_t begin = std::max<std::int64_t>(0, -x);
        const std::int64_t end = std::min(stretch.count * side, s.in_width - x);
        if (begin >= end) continue;
        const std::int64_t line = i * tiles.shifts() + shift;
        *next++ = {image + y * s.in_width + x + begin, (line * width + stretch.at) * side + begin, end - begin};
      }
    }
  });
  return next - copies;
}

std::int64_t output_lines(const WinogradTiles& tiles, std::int64_t first, std::int64_t count, std::int64_t width,
                          LineCopy* copies) {
  const ConvolutionShape& s = tiles.shape;
  const std::int64_t side = tiles.side;
  LineCopy* next = copies;
  tiles.each_stretch(first, count, [&](const TileStretch& stretch) {
    const std::int64_t window = s.pool_height;
    const std::int64_t image = stretch.image * s.out_channels * s.pooled_height() * s.pooled_width();
    const std::int64_t x = stretch.column * side / window;
    const std::int64_t pixels = std::min(stretch.count * side / window, s.pooled_width() - x);
    if (pixels <= 0) return;
    for (std::int64_t i = 0; i < side / window; ++i) {
      const std::int64_t y = stretch.row * side / window + i;
      if (y >= s.pooled_height()) break;
      *next++ = {(i * window * width + stretch.at) * side, image + y * s.pooled_width() + x, pixels};
    }
  });
  return next - copies;
}

}  // namespace secateur
