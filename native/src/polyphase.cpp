#include "polyphase.h"

#include <algorithm>
#include <cstring>

#include "sizes.h"

namespace secateur {

std::int64_t phase_taps(std::int64_t taps, std::int64_t stride) {
  const std::int64_t least = ceil_div(taps, stride);
  return stride > 1 && least == 4 ? 5 : least;
}

ConvolutionShape polyphase(const ConvolutionShape& shape) {
  if (shape.stride_height == 1 && shape.stride_width == 1) return shape;
  ConvolutionShape s = shape;
  s.in_channels *= s.stride_height * s.stride_width;
  s.kernel_height = phase_taps(s.kernel_height, s.stride_height);
  s.kernel_width = phase_taps(s.kernel_width, s.stride_width);
  s.in_height = s.out_height + s.kernel_height - 1;
  s.in_width = s.out_width + s.kernel_width - 1;
  s.stride_height = s.stride_width = 1;
  s.pad_top = s.pad_left = 0;
  return s;
}

PhaseTap phase_tap(const ConvolutionShape& shape, std::int64_t taps, std::int64_t position) {
  const std::int64_t column = position % shape.kernel_width;
  const std::int64_t row = position / shape.kernel_width % shape.kernel_height;
  const std::int64_t channel = position / shape.kernel_width / shape.kernel_height;
  return {(channel * shape.stride_height + row % shape.stride_height) * shape.stride_width + column % shape.stride_width,
          row / shape.stride_height * taps + column / shape.stride_width};
}

PhaseRows::PhaseRows(const ConvolutionShape& shape, const WinogradTiles& tiles, const WeightedKernels& kernels,
                     std::int64_t most)
    : shape_(shape),
      tiles_(tiles),
      kernels_(kernels),
      stretches_(tiles.stretches(most)),
      row_step_(ceil_div(columns(0, most), MAX_LANES) * MAX_LANES) {}

PhaseRows::Scratch PhaseRows::carve(Carver& parts) const noexcept {
  Scratch s;
  s.row = parts.take<float>(static_cast<std::size_t>(channels() * row_step_));
  s.rows = parts.take<float>(static_cast<std::size_t>(channels() * channel_step()));
  return s;
}

std::int64_t PhaseRows::lines(std::int64_t first, std::int64_t count, std::int64_t width, LineCopy* copies) const noexcept {
  const std::int64_t side = tiles_.side;
  LineCopy* next = copies;
  std::int64_t row = 0;
  tiles_.each_stretch(first, count, [&](const TileStretch& stretch) {
    const std::int64_t all = columns(stretch.column, stretch.count);
    for (std::int64_t i = 0; i < tiles_.reach(); ++i, ++row) {
      for (std::int64_t shift = 0; shift < tiles_.shifts(); ++shift) {
        const std::int64_t pixels = std::min(stretch.count * side, all - shift * side);
        if (pixels <= 0) continue;
        *next++ = {row * row_step_ + shift * side, ((i * tiles_.shifts() + shift) * width + stretch.at) * side, pixels};
      }
    }
  });
  return next - copies;
}

void PhaseRows::split(std::int64_t first, std::int64_t count, const float* channel, std::int64_t phase,
                      const Scratch& scratch) const noexcept {
  const std::int64_t stride = channels();
  float* to = scratch.rows;
  tiles_.each_stretch(first, count, [&](const TileStretch& stretch) {
    const std::int64_t pixels = columns(stretch.column, stretch.count);
    const std::int64_t numbers = stride * (ceil_div(pixels, MAX_LANES) * MAX_LANES);
    const std::int64_t left = stretch.column * tiles_.side * stride - shape_.pad_left;
    // Of the numbers, those that the image has and that are read.
    const std::int64_t begin = std::clamp<std::int64_t>(-left, 0, numbers);
    const std::int64_t end = std::clamp<std::int64_t>(read_columns() - left, begin, numbers);
    const float* const image = channel + stretch.image * shape_.in_channels * shape_.in_height * shape_.in_width;
    std::memset(scratch.row, 0, static_cast<std::size_t>(floats(numbers)));
    for (std::int64_t i = 0; i < tiles_.reach(); ++i, to += row_step_) {
      const std::int64_t row = stretch.row * tiles_.side + i;
      const std::int64_t y = row * stride + phase - shape_.pad_top;
      if (row < tiles_.shape.in_height && y >= 0 && y < read_rows() && begin < end) {
        std::memcpy(scratch.row + begin, image + y * shape_.in_width + left + begin,
                    static_cast<std::size_t>(floats(end - begin)));
        kernels_.split(scratch.row, stride, pixels, to, channel_step());
        continue;
      }
      for (std::int64_t column = 0; column < stride; ++column) {
        std::memset(to + column * channel_step(), 0, static_cast<std::size_t>(floats(pixels)));
      }
    }
  });
}

}  // namespace secateur
