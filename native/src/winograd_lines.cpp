#include "winograd_lines.h"

#include <cstring>

namespace secateur {
namespace {

// Floats beyond the last line that are read, not used.
constexpr std::int64_t SLACK = 2 * MAX_LANES;

}  // namespace

WinogradLines::Scratch WinogradLines::carve(Carver& parts, std::int64_t channels) const noexcept {
  const std::int64_t stretches = tiles_.stretches(width_);
  const std::int64_t lines = std::max(input_line_count(), tiles_.side * channels);
  Scratch s;
  s.copies = parts.take<LineCopy>(static_cast<std::size_t>(input_line_count() * stretches));
  s.finished = parts.take<LineCopy>(static_cast<std::size_t>(tiles_.side * stretches));
  s.lines = parts.take<float>(static_cast<std::size_t>(lines * line_step() + SLACK));
  return s;
}

WinogradInput WinogradLines::blank(std::int64_t run, const Scratch& scratch) const noexcept {
  // Outside the image everything stays zero, whatever the channel.
  std::memset(scratch.lines, 0, static_cast<std::size_t>(floats(input_line_count() * line_step())));
  WinogradInput in{};
  in.copies = scratch.copies;
  in.lines = scratch.lines;
  in.line_step = line_step();
  in.vectors = vectors(run);
  return in;
}

WinogradInput WinogradLines::input(std::int64_t run, std::int64_t channel, const Memory& memory,
                                   const Scratch& scratch) const noexcept {
  WinogradInput in = blank(run, scratch);
  in.source_step = tiles_.shape.in_height * tiles_.shape.in_width;
  in.source = memory.read<float>(refs_.source) + channel * in.source_step;
  in.copy_count = input_lines(tiles_, first_tile(run), tile_count(run), width_, scratch.copies);
  return in;
}

std::int64_t WinogradLines::pieces(std::int64_t run, const Scratch& scratch) const noexcept {
  return output_lines(tiles_, first_tile(run), tile_count(run), width_, scratch.finished);
}

void WinogradLines::finish(std::int64_t channel, float* lines, std::int64_t pieces, const Memory& memory,
                           const Scratch& scratch) const noexcept {
  const ConvolutionShape& shape = tiles_.shape;
  const float* const biases = memory.read<float>(refs_.bias);
  const float* const residual = memory.read<float>(refs_.residual);
  float* const output = memory.write<float>(refs_.output);
  const float bias = biases == nullptr ? 0.0f : biases[channel];
  const std::int64_t plane = shape.pooled_height() * shape.pooled_width();
  for (const LineCopy* piece = scratch.finished; piece < scratch.finished + pieces; ++piece) {
    const std::int64_t to = channel * plane + piece->to;
    float* const line = lines + piece->from;
    if (!shape.pooled()) {
      kernels_.finish({line, nullptr, residual == nullptr ? nullptr : residual + to, output + to, piece->count, bias,
                       refs_.activation});
      continue;
    }
    float* const below = line + line_step();
    for (float* const row : {line, below}) {
      kernels_.finish({row, nullptr, nullptr, row, 2 * piece->count, bias, refs_.activation});
    }
    kernels_.pairs(line, below, output + to, piece->count);
  }
}

}  // namespace secateur
