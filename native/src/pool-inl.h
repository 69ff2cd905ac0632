#pragma once

#include "kernels.h"
#include "vector-inl.h"

namespace secateur::SECATEUR_ISA {
namespace {

template <PoolKind K>
Vec pooled(Vec a, Vec b) {
  return K == PoolKind::max ? max(a, b) : a + b;
}

template <PoolKind K>
Vec pool_tall(const float* x, std::int64_t taps, std::int64_t tap_pitch) {
  Vec total = load(x);
  for (std::int64_t t = 1; t < taps; ++t) total = pooled<K>(total, load(x + t * tap_pitch));
  return total;
}

template <PoolKind K>
void pool_row(const float* x, std::int64_t taps, std::int64_t tap_pitch, float* y, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + LANES <= count; i += LANES) store(y + i, pool_tall<K>(x + i, taps, tap_pitch));
  if (i == count) return;
  if (count >= LANES) {
    // The last vector once more over numbers that are done.
    return store(y + count - LANES, pool_tall<K>(x + count - LANES, taps, tap_pitch));
  }
  Vec total = load_part(x, count);
  for (std::int64_t t = 1; t < taps; ++t) total = pooled<K>(total, load_part(x + t * tap_pitch, count));
  store_part(y, count, total);
}

template <PoolKind K>
void pool_rows_of(const float* x, std::int64_t x_pitch, std::int64_t taps, std::int64_t tap_pitch, float* y,
                  std::int64_t y_pitch, std::int64_t count, std::int64_t row_count) {
  // What nearly all pools do, with the taps unrolled.
  for (std::int64_t r = 0; r < row_count; ++r) {
    const float* from = x + r * x_pitch;
    float* to = y + r * y_pitch;
    if (taps == 2) {
      pool_row<K>(from, 2, tap_pitch, to, count);
    } else if (taps == 3) {
      pool_row<K>(from, 3, tap_pitch, to, count);
    } else {
      pool_row<K>(from, taps, tap_pitch, to, count);
    }
  }
}

void pool_rows(PoolKind kind, const float* x, std::int64_t x_pitch, std::int64_t taps, std::int64_t tap_pitch, float* y,
               std::int64_t y_pitch, std::int64_t count, std::int64_t row_count) {
  const auto of = kind == PoolKind::max ? pool_rows_of<PoolKind::max> : pool_rows_of<PoolKind::average>;
  of(x, x_pitch, taps, tap_pitch, y, y_pitch, count, row_count);
}

template <PoolKind K, std::int64_t Stride>
void pool_vectors(const float* x, std::int64_t taps, std::int64_t dilation, float* y, std::int64_t count) {
  const auto at = [](const float* p) { return Stride == 1 ? load(p) : load_even(p); };
  for (std::int64_t i = 0; i < count; i += LANES) {
    const float* p = x + i * Stride;
    Vec total = at(p);
    for (std::int64_t t = 1; t < taps; ++t) total = pooled<K>(total, at(p + t * dilation));
    if (i + LANES <= count) {
      store(y + i, total);
    } else {
      store_part(y + i, count - i, total);
    }
  }
}

// Strides of 1 and 2 are nearly all there are.
template <PoolKind K>
void pool_columns_of(const float* x, std::int64_t taps, std::int64_t stride, std::int64_t dilation, float* y,
                     std::int64_t count) {
  if (stride == 1) return pool_vectors<K, 1>(x, taps, dilation, y, count);
  if (stride == 2 && taps == 2) return pool_vectors<K, 2>(x, 2, dilation, y, count);
  if (stride == 2 && taps == 3) return pool_vectors<K, 2>(x, 3, dilation, y, count);
  if (stride == 2) return pool_vectors<K, 2>(x, taps, dilation, y, count);
  for (std::int64_t i = 0; i < count; ++i) {
    const float* p = x + i * stride;
    float total = p[0];
    for (std::int64_t t = 1; t < taps; ++t) {
      const float tap = p[t * dilation];
      total = K == PoolKind::max ? (total > tap ? total : tap) : total + tap;
    }
    y[i] = total;
  }
}

void pool_columns(PoolKind kind, const float* x, std::int64_t x_pitch, std::int64_t taps, std::int64_t stride,
                  std::int64_t dilation, float* y, std::int64_t y_pitch, std::int64_t count, std::int64_t row_count) {
  const auto of = kind == PoolKind::max ? pool_columns_of<PoolKind::max> : pool_columns_of<PoolKind::average>;
  for (std::int64_t r = 0; r < row_count; ++r) of(x + r * x_pitch, taps, stride, dilation, y + r * y_pitch, count);
}

void divide_row(float* y, const float* divisors, float factor, std::int64_t count) {
  const Vec all = set(factor);
  std::int64_t i = 0;
  for (; i + LANES <= count; i += LANES) store(y + i, load(y + i) / (all * load(divisors + i)));
  for (; i < count; ++i) y[i] = y[i] / (factor * divisors[i]);
}

}  // namespace

const PoolKernels& pool_kernels() {
  static constexpr PoolKernels TABLE{pool_rows, pool_columns, divide_row};
  return TABLE;
}

}  // namespace secateur::SECATEUR_ISA
