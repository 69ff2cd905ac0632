#pragma once

#include "activation-inl.h"
#include "kernels.h"

extern "C" float powf(float base, float exponent) noexcept;
extern "C" float logf(float x) noexcept;

namespace secateur::SECATEUR_ISA {
namespace {

float largest(Vec x) {
  float lanes[LANES];
  store(lanes, x);
  float most = lanes[0];
  for (std::int64_t i = 1; i < LANES; ++i) most = most > lanes[i] ? most : lanes[i];
  return most;
}

// A NaN need not survive the search for the largest: it comes back with its own exponential. The logarithm is
// x - largest - log(sum): the quotient may be zero where its logarithm is an ordinary number.
template <bool LOGARITHM>
void softmax_row(const float* x, float* y, std::int64_t size) {
  const Vec lowest = set(-__builtin_inff());
  Vec most = lowest;
  std::int64_t i = 0;
  for (; i + LANES <= size; i += LANES) most = max(most, load(x + i));
  float top = largest(most);
  for (; i < size; ++i) top = top > x[i] ? top : x[i];
  const Vec all_top = set(top);
  Vec total = set(0.0f);
  for (i = 0; i + LANES <= size; i += LANES) {
    const Vec e = exponential(load(x + i) - all_top);
    if constexpr (!LOGARITHM) store(y + i, e);
    total = total + e;
  }
  float whole = sum(total);
  if (i < size) {
    float lanes[LANES];
    store(lanes, exponential(load_part(x + i, size - i) - all_top));
    for (std::int64_t j = 0; i + j < size; ++j) {
      if constexpr (!LOGARITHM) y[i + j] = lanes[j];
      whole += lanes[j];
    }
  }
  if constexpr (LOGARITHM) {
    const float log_whole = logf(whole);
    const Vec all_log = set(log_whole);
    for (i = 0; i + LANES <= size; i += LANES) store(y + i, load(x + i) - all_top - all_log);
    for (; i < size; ++i) y[i] = x[i] - top - log_whole;
    return;
  }
  const Vec divisor = set(whole);
  for (i = 0; i + LANES <= size; i += LANES) store(y + i, load(y + i) / divisor);
  for (; i < size; ++i) y[i] = y[i] / whole;
}

Vec logarithm(Vec x) {
  float lanes[LANES];
  store(lanes, x);
  for (std::int64_t i = 0; i < LANES; ++i) lanes[i] = logf(lanes[i]);
  return load(lanes);
}

template <bool LOGARITHM, class Load, class Store>
void softmax_lanes(const float* x, float* y, std::int64_t size, std::int64_t pitch, Load get, Store put) {
  Vec most = get(x);
  for (std::int64_t r = 1; r < size; ++r) most = max(most, get(x + r * pitch));
  Vec total = set(0.0f);
  for (std::int64_t r = 0; r < size; ++r) {
    const Vec e = exponential(get(x + r * pitch) - most);
    if constexpr (!LOGARITHM) put(y + r * pitch, e);
    total = total + e;
  }
  if constexpr (LOGARITHM) {
    const Vec log_total = logarithm(total);
    for (std::int64_t r = 0; r < size; ++r) put(y + r * pitch, get(x + r * pitch) - most - log_total);
    return;
  }
  for (std::int64_t r = 0; r < size; ++r) put(y + r * pitch, get(y + r * pitch) / total);
}

template <bool LOGARITHM>
void softmax_columns(const float* x, float* y, std::int64_t size, std::int64_t pitch, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    softmax_lanes<LOGARITHM>(
        x + i, y + i, size, pitch, [](const float* p) { return load(p); }, [](float* p, Vec v) { store(p, v); });
  }
  if (i == count) return;
  const std::int64_t rest = count - i;
  softmax_lanes<LOGARITHM>(
      x + i, y + i, size, pitch, [rest](const float* p) { return load_part(p, rest); },
      [rest](float* p, Vec v) { store_part(p, rest, v); });
}

// The sum of f(x) over a row.
template <class F>
float row_sum(const float* x, std::int64_t size, F f) {
  Vec totals[4] = {set(0.0f), set(0.0f), set(0.0f), set(0.0f)};
  std::int64_t i = 0;
  for (; i + 4 * LANES <= size; i += 4 * LANES) {
    for (int t = 0; t < 4; ++t) totals[t] = totals[t] + f(load(x + i + t * LANES));
  }
  for (; i + LANES <= size; i += LANES) totals[0] = totals[0] + f(load(x + i));
  if (i < size) {
    float lanes[LANES];
    store(lanes, f(load_part(x + i, size - i)));
    for (std::int64_t j = size - i; j < LANES; ++j) lanes[j] = 0.0f;
    totals[1] = totals[1] + load(lanes);
  }
  return sum((totals[0] + totals[1]) + (totals[2] + totals[3]));
}

void layer_norm(const float* x, float* y, std::int64_t size, const float* scale, const float* bias, float epsilon) {
  const auto count = static_cast<float>(size);
  const Vec mean = set(row_sum(x, size, [](Vec v) { return v; }) / count);
  const auto squared = [mean](Vec v) {
    const Vec d = v - mean;
    return d * d;
  };
  const Vec factor = set(1.0f / __builtin_sqrtf(row_sum(x, size, squared) / count + epsilon));
  const auto normalised = [&](Vec v, Vec s, Vec b) { return fma((v - mean) * factor, s, b); };
  const Vec one = set(1.0f);
  const Vec zero = set(0.0f);
  std::int64_t i = 0;
  for (; i + LANES <= size; i += LANES) {
    const Vec s = scale != nullptr ? load(scale + i) : one;
    const Vec b = bias != nullptr ? load(bias + i) : zero;
    store(y + i, normalised(load(x + i), s, b));
  }
  if (i == size) return;
  const std::int64_t rest = size - i;
  const Vec s = scale != nullptr ? load_part(scale + i, rest) : one;
  const Vec b = bias != nullptr ? load_part(bias + i, rest) : zero;
  store_part(y + i, rest, normalised(load_part(x + i, rest), s, b));
}

void square_row(const float* x, float* y, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + LANES <= count; i += LANES) store(y + i, load(x + i) * load(x + i));
  for (; i < count; ++i) y[i] = x[i] * x[i];
}

// t^(3/4) is what AlexNet asks for: two square roots, which every processor rounds correctly.
template <bool ThreeQuarters>
void respond(const float* x, const float* const* squares, std::int64_t square_count, float* y, std::int64_t count,
             float factor, float beta, float k) {
  const Vec all_factor = set(factor);
  const Vec all_k = set(k);
  const auto divided = [&](Vec value, Vec total) {
    const Vec t = fma(all_factor, total, all_k);
    if constexpr (ThreeQuarters) {
      const Vec root = sqrt(t);
      return value / (root * sqrt(root));
    } else {
      float lanes[LANES];
      store(lanes, t);
      for (std::int64_t j = 0; j < LANES; ++j) lanes[j] = powf(lanes[j], beta);
      return value / load(lanes);
    }
  };
  std::int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    Vec total = load(squares[0] + i);
    for (std::int64_t s = 1; s < square_count; ++s) total = total + load(squares[s] + i);
    store(y + i, divided(load(x + i), total));
  }
  if (i == count) return;
  const std::int64_t rest = count - i;
  Vec total = load_part(squares[0] + i, rest);
  for (std::int64_t s = 1; s < square_count; ++s) total = total + load_part(squares[s] + i, rest);
  store_part(y + i, rest, divided(load_part(x + i, rest), total));
}

void response_row(const float* x, const float* const* squares, std::int64_t square_count, float* y, std::int64_t count,
                  float factor, float beta, float k) {
  beta == 0.75f ? respond<true>(x, squares, square_count, y, count, factor, beta, k)
                : respond<false>(x, squares, square_count, y, count, factor, beta, k);
}

}  // namespace

const NormKernels& norm_kernels() {
  static constexpr NormKernels TABLE{{softmax_row<false>, softmax_row<true>},
                                    {softmax_columns<false>, softmax_columns<true>},
                                    layer_norm, square_row, response_row};
  return TABLE;
}

}  // namespace secateur::SECATEUR_ISA
