#pragma once

#include "kernels.h"
#include "vector-inl.h"

namespace secateur::SECATEUR_ISA {
namespace {

// Twelve accumulators and three more fill the 16 registers of AVX2; AVX-512 has twice as many.
constexpr std::int64_t ROWS = LANES == 16 ? 12 : 6;
constexpr std::int64_t PANEL = 2 * LANES;

void pack(const float* right, std::int64_t pitch, std::int64_t depth, std::int64_t width, float* panel) {
  for (std::int64_t k = 0; k < depth; ++k) {
    const float* from = right + k * pitch;
    float* to = panel + k * PANEL;
    if (width == PANEL) {
      store(to, load(from));
      store(to + LANES, load(from + LANES));
    } else {
      store(to, load_part(from, width < LANES ? width : LANES));
      store(to + LANES, width > LANES ? load_part(from + LANES, width - LANES) : set(0.0f));
    }
  }
}

template <std::int64_t R>
void multiply_rows(const float* left, std::int64_t left_pitch, std::int64_t depth, const float* panel, float* output,
                   std::int64_t output_pitch, std::int64_t width, bool go_on) {
  const std::int64_t low = width < LANES ? width : LANES;
  const std::int64_t high = width - low;
  Vec a[R][2];
  for (std::int64_t r = 0; r < R; ++r) {
    const float* row = output + r * output_pitch;
    a[r][0] = go_on ? load_part(row, low) : set(0.0f);
    a[r][1] = go_on && high > 0 ? load_part(row + LANES, high) : set(0.0f);
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    const Vec p = load(panel + k * PANEL);
    const Vec q = load(panel + k * PANEL + LANES);
    for (std::int64_t r = 0; r < R; ++r) {
      const Vec x = set(left[r * left_pitch + k]);
      a[r][0] = fma(x, p, a[r][0]);
      a[r][1] = fma(x, q, a[r][1]);
    }
  }
  for (std::int64_t r = 0; r < R; ++r) {
    float* row = output + r * output_pitch;
    store_part(row, low, a[r][0]);
    if (high > 0) store_part(row + LANES, high, a[r][1]);
  }
}

void multiply(const float* left, std::int64_t left_pitch, std::int64_t rows, std::int64_t depth, const float* panel,
              float* output, std::int64_t output_pitch, std::int64_t width, bool go_on) {
  std::int64_t r = 0;
  for (; r + ROWS <= rows; r += ROWS) {
    multiply_rows<ROWS>(left + r * left_pitch, left_pitch, depth, panel, output + r * output_pitch, output_pitch, width, go_on);
  }
  for (; r + 2 <= rows; r += 2) {
    multiply_rows<2>(left + r * left_pitch, left_pitch, depth, panel, output + r * output_pitch, output_pitch, width, go_on);
  }
  if (r < rows) {
    multiply_rows<1>(left + r * left_pitch, left_pitch, depth, panel, output + r * output_pitch, output_pitch, width, go_on);
  }
}

}  // namespace

const MatMulKernels& matmul_kernels() {
  static constexpr MatMulKernels TABLE{PANEL, pack, multiply};
  return TABLE;
}

}  // namespace secateur::SECATEUR_ISA
