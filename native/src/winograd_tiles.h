// Where the tiles of a convolution lie: all of them are numbered, row by row and image by image, and sixteen or eight that
// follow each other are a vector, whatever rows they are of. So no more is computed than the last vector rounds up.
#pragma once

#include <algorithm>
#include <cstdint>

#include "secateur/weighted.h"
#include "sizes.h"
#include "weighted_kernels.h"

namespace secateur {

// Tiles next to each other in a row of them.
struct TileStretch {
  std::int64_t image, row, column;
  std::int64_t count;
  std::int64_t at;  // tiles of the run before it
};

struct WinogradTiles {
  ConvolutionShape shape;
  std::int64_t side;  // outputs of a tile, in each direction

  std::int64_t taps() const { return shape.kernel_height; }
  std::int64_t reach() const { return side + taps() - 1; }         // inputs of a tile, in each direction
  std::int64_t shifts() const { return ceil_div(reach(), side); }  // by whole tiles, that its inputs reach over
  std::int64_t points() const { return reach() * reach(); }        // products of a tile
  std::int64_t rows() const { return ceil_div(shape.out_height, side); }
  std::int64_t columns() const { return ceil_div(shape.out_width, side); }
  std::int64_t count() const { return shape.images * rows() * columns(); }
  // Of so many tiles.
  std::int64_t stretches(std::int64_t tiles) const { return std::min(tiles, tiles / columns() + 2); }

  template <class Visit>
  void each_stretch(std::int64_t first, std::int64_t tiles, Visit visit) const {
    for (std::int64_t at = 0; at < tiles;) {
      const std::int64_t tile = first + at;
      const std::int64_t column = tile % columns();
      const std::int64_t row = tile / columns();
      const std::int64_t together = std::min(tiles - at, columns() - column);
      visit(TileStretch{row / rows(), row % rows(), column, together, at});
      at += together;
    }
  }
};

// What is copied of the first channel into the lines of `width` tiles that the input's transform reads, of so many tiles
// from the `first` on: into line [row of the tile][shift]. What lies outside the image is not copied. Returns the number
// of copies; `copies` has room for reach * shifts * stretches.
std::int64_t input_lines(const WinogradTiles& tiles, std::int64_t first, std::int64_t count, std::int64_t width,
                         LineCopy* copies);

// And of a channel of the output, from the lines [row of the tile] of the sums; there are no more than side * stretches.
// With pool windows of 2x2 it is from two lines each, and counts are of windows.
std::int64_t output_lines(const WinogradTiles& tiles, std::int64_t first, std::int64_t count, std::int64_t width,
                          LineCopy* copies);

}  // namespace secateur
