// The table of one instruction set. Included by src/<isa>/weighted.cpp alone.
#pragma once

#include "bitmask_lines-inl.h"
#include "depthwise-inl.h"
#include "lane_lines-inl.h"
#include "matrix_lines-inl.h"
#include "panel_tile-inl.h"
#include "sparse_tile-inl.h"
#include "strip_lines-inl.h"
#include "weighted_kernels.h"
#include "winograd-inl.h"

namespace secateur::SECATEUR_ISA {
namespace {

template <int ROWS, int COLUMNS>
constexpr void list_tiles(WeightedKernels& kernels) {
  if constexpr (ROWS * COLUMNS <= MAX_TILE) {
    kernels.sparse[ROWS][COLUMNS] = &sparse_tile<ROWS, COLUMNS>;
    if constexpr (ROWS == 1) kernels.rows[COLUMNS] = &sparse_rows<COLUMNS>;
    list_tiles<ROWS, COLUMNS + 1>(kernels);
  } else if constexpr (ROWS < MAX_TILE_ROWS) {
    list_tiles<ROWS + 1, 1>(kernels);
  }
}

constexpr WeightedKernels list_kernels() {
  WeightedKernels kernels{};
  kernels.lanes = static_cast<int>(LANES);
  kernels.max_tile = MAX_TILE;
  kernels.panel_channels = PANEL_CHANNELS;
  kernels.panel_pixels = PANEL_PIXELS;
  kernels.strip = static_cast<int>(STRIP);
  list_tiles<1, 1>(kernels);
  kernels.panel = &panel_tile;
  kernels.pack = &pack_lines;
  kernels.pack_rows = &pack_rows;
  kernels.finish_lanes = &finish_lanes;
  kernels.finish = &finish_line;
  kernels.pool = &pool_band;
  kernels.pairs = &pair_maxima;
  kernels.split = &split_line;
  kernels.look_up = &look_up;
  kernels.widen = &widen;
  kernels.scatter = &scatter_lines;
  kernels.gather = &gather_lines;
  kernels.bitmask = &bitmask_lines;
  kernels.scatter_bitmask = &scatter_bitmask;
  kernels.strips = &strip_lines;
  kernels.depthwise = &depthwise_row;
  kernels.streamed = {&winograd_input<4, 3, true>, &streamed_filters, &streamed_output};
  kernels.winograd[0] = {&winograd_input<2, 3, false>, &winograd_output<2, 3>};
  kernels.winograd[1] = {&winograd_input<4, 3, false>, &winograd_output<4, 3>};
  kernels.winograd[2] = {&winograd_input<2, 5, false>, &winograd_output<2, 5>};
  kernels.winograd[3] = {&winograd_input<4, 5, false>, &winograd_output<4, 5>};
  return kernels;
}

}  // namespace

const WeightedKernels& weighted_kernels() {
  static constexpr WeightedKernels KERNELS = list_kernels();
  return KERNELS;
}

}  // namespace secateur::SECATEUR_ISA
