// The micro-kernels of the weighted layers: one table an instruction set, plain data at the border.
//
// The convolutions and the batched linear layers share one layout, the *lane tile*. The output is cut into as many
// equal regions as a vector has lanes (parts of rows, of columns, of the batch), and a "pixel" of the tile is one
// vector: the same pixel of every region. So every tap of a filter, whatever its shift, stride or dilation, is one
// constant and aligned offset into the packed input, nothing is shuffled in the inner loop, and a map of 14 x 14 wastes
// no more than its regions round up. (Vectors along the columns need a shifted copy of the input for each tap of a row
// - 3 times the bytes in the first-level cache for a 3x3 kernel, against (n + 2) / n here - or loads across lines.)
#pragma once

#include <cstddef>
#include <cstdint>

#include "secateur/activation.h"
#include "secateur/isa.h"
#include "secateur/matrix.h"

namespace secateur {

constexpr int MAX_LANES = 16;
constexpr int MAX_TILE_ROWS = 7;
constexpr int MAX_TILE_COLUMNS = 28;
constexpr int kMaxPanelPixels = 3;
constexpr int MAX_POOL = 3;  // rows and columns of a window

// One block of positions times one tile of pixels, for a run of output channels.
struct SparseTile {
  const float* values;           // channel after channel
  const std::uint16_t* offsets;  // of each value's position, in vectors from `pixels`
  const std::uint8_t* indices;   // instead, of rows of a batch: each value's position
  const std::uint16_t* counts;   // a channel
  const float* pixels;           // the tile's first pixel under the filter's first tap
  std::int64_t row_step;         // floats from one row of the tile to the next
  float* sums;                   // [channels][tile rows][tile columns][lanes]
  std::int64_t channels;
  bool first;  // the sums start at zero instead of from memory
};

// The same for panels of channels that share each load; pixels go in groups.
struct PanelTile {
  const float* values;  // [panels][counts][panel_channels]
  const std::uint8_t* indices;
  const std::uint16_t* counts;  // a panel
  const std::int32_t* offsets;
  const float* pixels;
  const std::int32_t* steps;  // [groups][panel_pixels], bytes from `pixels`
  std::int64_t groups;
  std::int64_t together;    // pixels of a group: as panel_together() says
  std::int64_t last;        // of the last group, which may be fewer
  std::int64_t group_step;  // floats between the sums of two groups
  float* sums;              // [groups][panels * panel_channels][panel_pixels][lanes]
  std::int64_t panels;
  std::int64_t channels;  // that there are: those that fill up the last panel may be left out
  bool first;
  const float* ahead = nullptr;  // as much as the pixels of the last group: fetched meanwhile
};

// Runs of floats, one a lane, become vectors: for each of some channels.
struct PackLines {
  const float* source;
  std::int64_t starts[MAX_LANES];  // of each lane's run; it may lie outside the source,
  std::int64_t begin[MAX_LANES];   // only begin <= i < end is read
  std::int64_t end[MAX_LANES];     // and the rest is zero
  std::int64_t count;
  const std::int32_t* places;  // of the vectors in floats from `packed`; negative: nobody needs it
  float* packed;
  std::int64_t channels;
  std::int64_t source_step;  // floats from channel to channel
  std::int64_t packed_step;
};

// And back, to where each lane's numbers belong: output[to[lane] + i] = activation(sums + bias + residual), vector i of the
// run being at sums + places[i] + channel * steps[i].
struct FinishLanes {
  const float* sums;
  const std::int32_t* places;
  const std::int32_t* steps;
  std::int64_t channel;
  std::int64_t count;
  const std::int64_t* to;      // of each lane, in floats; of the residual, too
  const std::int64_t* counts;  // of each lane: so many of its first numbers are wanted
  const float* biases;         // one a number, or null
  const float* residual;       // or null
  float* output;
  float bias;
  Activation activation;
};

// output[i] = activation(sums[i] + bias + residual[i])
struct FinishLine {
  const float* sums;
  const float* biases;    // one a float of the line, or null
  const float* residual;  // or null
  float* output;
  std::int64_t count;
  float bias;
  Activation activation;
};

// The maxima of windows that tile a band: pooled = max(activation(sums + bias)), row by row and then column by column
// like a pool's.
struct PoolBand {
  const float* sums;
  const std::int32_t* places;  // of each pixel of the band, as in FinishLanes
  const std::int32_t* steps;
  std::int64_t channels;
  std::int64_t rows;     // of windows
  std::int64_t columns;  // of windows
  std::int64_t window_height;
  std::int64_t window_width;
  const float* biases;  // one a channel, or null
  float* pooled;        // [channels], each [rows][columns][lanes]
  std::int64_t pooled_step;  // floats from channel to channel
  Activation activation;
};

// Where weights come from when their layer runs again: kernels fetch them ahead accordingly.
enum class Home { core, last_level, memory };

// sums[row] += x[line] * value over the lines of inputs that are not zero.
struct ScatterLines {
  const void* values;
  ValueType type;
  LayoutKind layout;  // gap8 or index16
  const void* indices;
  const std::uint32_t* starts;
  std::int64_t begin;  // lines
  std::int64_t end;
  const float* x;
  float* sums;
};

// sums[line] = values of the line . x at its positions
struct GatherLines {
  const void* values;
  ValueType type;
  LayoutKind layout;  // gap8, index16 or dense
  const void* indices;
  const std::uint32_t* starts;
  std::int64_t begin;
  std::int64_t end;
  std::int64_t length;
  std::int64_t line_step;  // dense: values from line to line
  Home home;               // dense
  const float* x;
  float* sums;  // of line `begin` first
};

// sums[row][line] = values of the line . x[row] where its bits are set
struct BitmaskLines {
  const void* values;
  ValueType type;
  const std::uint8_t* masks;    // (length + 7) / 8 bytes a line
  const std::uint32_t* starts;  // of each line's values
  std::int64_t entries;         // values in all, those of other lines too
  std::int64_t begin;
  std::int64_t end;
  std::int64_t length;
  std::int64_t rows;
  Home home;       // to multiply
  const float* x;  // [rows][length]; to scatter, one row of inputs, which are the lines
  float* sums;     // [rows][end - begin]; to scatter, [length]
};

// sums[row][output] = its weights . x[row], block after block of outputs; the arrays are those of StripWeights, from the
// first of these blocks on.
struct StripLines {
  const void* values;
  ValueType type;
  const std::uint8_t* indices;
  const std::uint8_t* widths;
  const std::uint8_t* counts;
  const std::uint8_t* places;
  std::int64_t length;  // inputs
  std::int64_t blocks;
  std::int64_t rows;
  const float* x;  // [rows][length]
  float* sums;     // [rows][blocks][lanes]
};

// sums[i] = weights . plane[offsets + i], rounded up to whole vectors.
struct DepthwiseRow {
  const float* plane;           // a padded channel, from the row's first tap on
  const std::int32_t* offsets;  // of the taps, in floats
  const float* weights;
  std::int64_t taps;
  std::int64_t count;
  float* sums;
};

struct LineCopy {
  std::int64_t from, to, count;  // floats
};

// Of each channel: the copies, then [points][vectors of tiles]. Within a vector tiles are in the order in which
// deinterleave() leaves them.
struct WinogradInput {
  const float* source;
  std::int64_t source_step;  // floats from channel to channel
  const LineCopy* copies;
  std::int64_t copy_count;
  float* lines;  // [rows of a tile][shifts by a tile][line_step]
  std::int64_t line_step;
  std::int64_t vectors;
  std::int64_t channels;
  float* tiles;               // [points][channels][vectors][lanes], or [points][eights of tiles][channels][8]
  std::int64_t channel_step;  // floats
  std::int64_t point_step;
  std::int64_t eight_step;  // where there are eights
};

struct WinogradOutput {
  const float* products;       // of each point a LaneProduct's sums
  std::int64_t products_step;  // floats from point to point
  const std::int32_t* places;  // of each vector, and from channel to channel
  const std::int32_t* steps;
  std::int64_t channel;
  std::int64_t vectors;
  float* lines;  // [rows of the output of a tile][line_step], tiles in their own order
  std::int64_t line_step;
};

// The same by the transform of 4x4 outputs with its parts exchanged: tiles in eights, a vector being output channels.
struct StreamedFilters {
  const float* filters;  // [input channels][taps][lanes]
  std::int64_t channels;
  float* transformed;         // [points][input channels][lanes]
  std::int64_t channel_step;  // floats
  std::int64_t point_step;
};

struct StreamedOutput {
  const float* products;       // of a vector of channels: [points][tiles, in the order of their vectors]
  std::int64_t products_step;  // floats from point to point
  std::int64_t tile_step;
  std::int64_t tiles;
  float* lines;  // [channels][rows of the output of a tile][line_step], tiles in their own order
  std::int64_t line_step;
};

struct StreamedTransforms {
  void (*input)(const WinogradInput&);
  void (*filters)(const StreamedFilters&);
  void (*output)(const StreamedOutput&);
};

struct WinogradTransforms {
  void (*input)(const WinogradInput&);
  void (*output)(const WinogradOutput&);
};

struct WeightedKernels {
  int lanes;
  int max_tile;  // vectors of a sparse tile
  int panel_channels;
  int panel_pixels;
  int strip;  // inputs
  void (*sparse[MAX_TILE_ROWS + 1][MAX_TILE_COLUMNS + 1])(const SparseTile&);  // [rows][columns]; null beyond max_tile
  void (*rows[MAX_TILE_COLUMNS + 1])(const SparseTile&);  // of a batch: [vectors]
  void (*panel)(const PanelTile&);
  void (*pack)(const PackLines&);
  // Rows of a batch for a panel: to[input * panel_channels + row]; two floats more than those may be written.
  void (*pack_rows)(const float* source, std::int64_t row_step, std::int64_t rows, std::int64_t count, float* to);
  void (*finish_lanes)(const FinishLanes&);
  void (*finish)(const FinishLine&);
  void (*pool)(const PoolBand&);
  // to[k * to_step + i] = from[stride * i + k], k from 0 to stride - 1, i to count rounded up to whole vectors
  void (*split)(const float* from, std::int64_t stride, std::int64_t count, float* to, std::int64_t to_step);
  // maxima[i] of the 2x2 window of two lines, in the order of a pool's; reads up to two vectors beyond the lines.
  void (*pairs)(const float* upper, const float* lower, float* maxima, std::int64_t count);
  void (*look_up)(const std::uint8_t* indices, const std::uint16_t* table, std::int64_t count, std::uint16_t* out);
  void (*widen)(const void* values, ValueType type, std::int64_t count, float* out);
  void (*scatter)(const ScatterLines&);
  void (*gather)(const GatherLines&);
  void (*bitmask)(const BitmaskLines&);
  void (*scatter_bitmask)(const BitmaskLines&);
  void (*strips)(const StripLines&);
  void (*depthwise)(const DepthwiseRow&);
  StreamedTransforms streamed;
  WinogradTransforms winograd[4];  // of 2x2 and of 4x4 outputs by 3x3 filters, then by 5x5 filters
};

namespace scalar {
const WeightedKernels& weighted_kernels();
}
namespace avx2 {
const WeightedKernels& weighted_kernels();
}
namespace avx512 {
const WeightedKernels& weighted_kernels();
}

const WeightedKernels& weighted_kernels(Isa isa);

}  // namespace secateur
