#include "winograd_finish.h"

namespace secateur {

void WinogradFinish::channel(std::int64_t channel, float* lines, std::int64_t line_step, const LineCopy* runs,
                             std::int64_t count, const Memory& memory) const noexcept {
  const ConvolutionShape& shape = tiles_.shape;
  const float* const biases = memory.read<float>(refs_.bias);
  const float* const residual = memory.read<float>(refs_.residual);
  float* const output = memory.write<float>(refs_.output);
  const float bias = biases == nullptr ? 0.0f : biases[channel];
  const std::int64_t plane = shape.pooled_height() * shape.pooled_width();
  for (const LineCopy* run = runs; run < runs + count; ++run) {
    const std::int64_t to = channel * plane + run->to;
    float* const line = lines + run->from;
    if (!shape.pooled()) {
      kernels_.finish({line, nullptr, residual == nullptr ? nullptr : residual + to, output + to, run->count, bias,
                       refs_.activation});
      continue;
    }
    for (float* const row : {line, line + line_step}) {
      kernels_.finish({row, nullptr, nullptr, row, 2 * run->count, bias, refs_.activation});
    }
    kernels_.pairs(line, line + line_step, output + to, run->count);
  }
}

}  // namespace secateur
