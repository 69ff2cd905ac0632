#pragma once

#include "kernels.h"
#include "vector-inl.h"

namespace secateur::SECATEUR_ISA {
namespace {

template <bool Max>
Vec reduced(Vec a, Vec b) {
  return Max ? maximum(a, b) : a + b;
}

template <bool Max>
float reduce_row_of(const float* x, std::int64_t count) {
  const Vec start = set(Max ? -__builtin_inff() : 0.0f);
  Vec totals[4] = {start, start, start, start};
  std::int64_t i = 0;
  for (; i + 4 * LANES <= count; i += 4 * LANES) {
    for (int t = 0; t < 4; ++t) totals[t] = reduced<Max>(totals[t], load(x + i + t * LANES));
  }
  for (; i + LANES <= count; i += LANES) totals[0] = reduced<Max>(totals[0], load(x + i));
  float lanes[LANES];
  store(lanes, reduced<Max>(reduced<Max>(totals[0], totals[1]), reduced<Max>(totals[2], totals[3])));
  for (std::int64_t j = 0; i < count; ++i, ++j) {
    const float next = x[i];
    lanes[j] = Max ? (lanes[j] > next || lanes[j] != lanes[j] ? lanes[j] : next) : lanes[j] + next;
  }
  // In halves, like a tree.
  for (std::int64_t width = LANES / 2; width > 0; width /= 2) {
    for (std::int64_t j = 0; j < width; ++j) {
      const float a = lanes[j];
      const float b = lanes[j + width];
      lanes[j] = Max ? (a > b || a != a ? a : b) : a + b;
    }
  }
  return lanes[0];
}

float reduce_row(ReduceKind kind, const float* x, std::int64_t count) {
  return kind == ReduceKind::max ? reduce_row_of<true>(x, count) : reduce_row_of<false>(x, count);
}

template <bool Max>
void accumulate_of(float* total, const float* x, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + LANES <= count; i += LANES) store(total + i, reduced<Max>(load(total + i), load(x + i)));
  if (i == count) return;
  store_part(total + i, count - i, reduced<Max>(load_part(total + i, count - i), load_part(x + i, count - i)));
}

void accumulate(ReduceKind kind, float* total, const float* x, std::int64_t count) {
  kind == ReduceKind::max ? accumulate_of<true>(total, x, count) : accumulate_of<false>(total, x, count);
}

}  // namespace

const ReduceKernels& reduce_kernels() {
  static constexpr ReduceKernels TABLE{reduce_row, accumulate};
  return TABLE;
}

}  // namespace secateur::SECATEUR_ISA
