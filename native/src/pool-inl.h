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
void pool_rows_of(const float* const* rows, std::int64_t row_count, float* y, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    Vec total = load(rows[0] + i);
    for (std::int64_t r = 1; r < row_count; ++r) total = pooled<K>(total, load(rows[r] + i));
    store(y + i, total);
  }
  if (i == count) return;
  if (count >= LANES) {
    // The last vector once more over numbers that are done.
    i = count - LANES;
    Vec total = load(rows[0] + i);
    for (std::int64_t r = 1; r < row_count; ++r) total = pooled<K>(total, load(rows[r] + i));
    return store(y + i, total);
  }
  Vec total = load_part(rows[0] + i, count - i);
  for (std::int64_t r = 1; r < row_count; ++r) total = pooled<K>(total, load_part(rows[r] + i, count - i));
  store_part(y + i, count - i, total);
}

void pool_rows(PoolKind kind, const float* const* rows, std::int64_t row_count, float* y, std::int64_t count) {
  kind == PoolKind::max ? pool_rows_of<PoolKind::max>(rows, row_count, y, count)
                        : pool_rows_of<PoolKind::average>(rows, row_count, y, count);
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

void pool_columns(PoolKind kind, const float* x, std::int64_t taps, std::int64_t stride, std::int64_t dilation, float* y,
                  std::int64_t count) {
  kind == PoolKind::max ? pool_columns_of<PoolKind::max>(x, taps, stride, dilation, y, count)
                        : pool_columns_of<PoolKind::average>(x, taps, stride, dilation, y, count);
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
