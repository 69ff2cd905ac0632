#pragma once

#include "activation-inl.h"
#include "kernels.h"

// Declared by hand: <cmath> would bring inline functions along.
extern "C" float powf(float base, float exponent) noexcept;

namespace secateur::SECATEUR_ISA {
namespace {

template <ActivationKind K>
void activate_row(const float* x, float* y, std::int64_t count, Activation activation) {
  const Vec alpha = set(activation.alpha);
  const Vec beta = set(activation.beta);
  std::int64_t i = 0;
  for (; i + LANES <= count; i += LANES) store(y + i, activated<K>(load(x + i), alpha, beta));
  if (i < count) store_part(y + i, count - i, activated<K>(load_part(x + i, count - i), alpha, beta));
}

void activate_rows(const float* x, float* y, std::int64_t count, Activation a) {
  switch (a.kind) {
    case ActivationKind::none: return activate_row<ActivationKind::none>(x, y, count, a);
    case ActivationKind::relu: return activate_row<ActivationKind::relu>(x, y, count, a);
    case ActivationKind::leaky_relu: return activate_row<ActivationKind::leaky_relu>(x, y, count, a);
    case ActivationKind::clip: return activate_row<ActivationKind::clip>(x, y, count, a);
    case ActivationKind::sigmoid: return activate_row<ActivationKind::sigmoid>(x, y, count, a);
    case ActivationKind::hard_sigmoid: return activate_row<ActivationKind::hard_sigmoid>(x, y, count, a);
    case ActivationKind::hard_swish: return activate_row<ActivationKind::hard_swish>(x, y, count, a);
    case ActivationKind::swish: return activate_row<ActivationKind::swish>(x, y, count, a);
    case ActivationKind::tanh: return activate_row<ActivationKind::tanh>(x, y, count, a);
    case ActivationKind::gelu: return activate_row<ActivationKind::gelu>(x, y, count, a);
    case ActivationKind::gelu_tanh: return activate_row<ActivationKind::gelu_tanh>(x, y, count, a);
    case ActivationKind::erf: return activate_row<ActivationKind::erf>(x, y, count, a);
    case ActivationKind::exp: return activate_row<ActivationKind::exp>(x, y, count, a);
    case ActivationKind::sqrt: return activate_row<ActivationKind::sqrt>(x, y, count, a);
    case ActivationKind::negative: return activate_row<ActivationKind::negative>(x, y, count, a);
    case ActivationKind::absolute: return activate_row<ActivationKind::absolute>(x, y, count, a);
  }
}

template <BinaryKind K>
Vec combined(Vec a, Vec b) {
  if constexpr (K == BinaryKind::add) {
    return a + b;
  } else if constexpr (K == BinaryKind::subtract) {
    return a - b;
  } else if constexpr (K == BinaryKind::multiply) {
    return a * b;
  } else if constexpr (K == BinaryKind::divide) {
    return a / b;
  } else if constexpr (K == BinaryKind::minimum) {
    return minimum(a, b);
  } else {
    return maximum(a, b);
  }
}

template <BinaryKind K, bool LeftRuns, bool RightRuns>
void combine_row(const float* left, const float* right, float* y, std::int64_t count) {
  const Vec left_all = set(*left);
  const Vec right_all = set(*right);
  std::int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    store(y + i, combined<K>(LeftRuns ? load(left + i) : left_all, RightRuns ? load(right + i) : right_all));
  }
  if (i == count) return;
  const std::int64_t rest = count - i;
  store_part(y + i, rest,
             combined<K>(LeftRuns ? load_part(left + i, rest) : left_all,
                         RightRuns ? load_part(right + i, rest) : right_all));
}

template <BinaryKind K>
void combine_strided(const float* left, std::int64_t left_stride, const float* right, std::int64_t right_stride, float* y,
                     std::int64_t count) {
  if (count == 0) return;
  if (left_stride != 0 && right_stride != 0) return combine_row<K, true, true>(left, right, y, count);
  if (left_stride != 0) return combine_row<K, true, false>(left, right, y, count);
  if (right_stride != 0) return combine_row<K, false, true>(left, right, y, count);
  combine_row<K, false, false>(left, right, y, count);
}

// Squares are what powers mostly are; the rest is the C library's, whose special cases are the right ones.
void power_row(const float* left, std::int64_t left_stride, const float* right, std::int64_t right_stride, float* y,
               std::int64_t count) {
  if (count > 0 && right_stride == 0 && *right == 2.0f) {
    return combine_strided<BinaryKind::multiply>(left, left_stride, left, left_stride, y, count);
  }
  for (std::int64_t i = 0; i < count; ++i) y[i] = powf(left[i * left_stride], right[i * right_stride]);
}

void combine_rows(BinaryKind kind, const float* left, std::int64_t left_stride, const float* right,
                  std::int64_t right_stride, float* y, std::int64_t count) {
  switch (kind) {
    case BinaryKind::add: return combine_strided<BinaryKind::add>(left, left_stride, right, right_stride, y, count);
    case BinaryKind::subtract:
      return combine_strided<BinaryKind::subtract>(left, left_stride, right, right_stride, y, count);
    case BinaryKind::multiply:
      return combine_strided<BinaryKind::multiply>(left, left_stride, right, right_stride, y, count);
    case BinaryKind::divide: return combine_strided<BinaryKind::divide>(left, left_stride, right, right_stride, y, count);
    case BinaryKind::power: return power_row(left, left_stride, right, right_stride, y, count);
    case BinaryKind::minimum:
      return combine_strided<BinaryKind::minimum>(left, left_stride, right, right_stride, y, count);
    case BinaryKind::maximum:
      return combine_strided<BinaryKind::maximum>(left, left_stride, right, right_stride, y, count);
  }
}

}  // namespace

const ElementwiseKernels& elementwise_kernels() {
  static constexpr ElementwiseKernels TABLE{activate_rows, combine_rows};
  return TABLE;
}

}  // namespace secateur::SECATEUR_ISA
