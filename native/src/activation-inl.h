// The activation functions on vectors. Every instruction set does the same operations in the same order, so all give
// the same bits. The polynomials interpolate at Chebyshev nodes; tests/test_elementwise.cpp measures their error
// against double precision.
#pragma once

#include "secateur/activation.h"
#include "vector-inl.h"

namespace secateur::SECATEUR_ISA {
namespace {

// c[0] + x (c[1] + x (c[2] + ...)).
template <int N>
inline Vec polynomial(Vec x, const float (&c)[N]) {
  Vec y = set(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) y = fma(y, x, set(c[i]));
  return y;
}

// e^x = 2^n e^r with |r| <= log(2) / 2; below 2 ulp, with gradual underflow.
inline Vec exponential(Vec x) {
  // Beyond these it is 0 and infinity anyway. The order of arguments lets NaN through.
  const Vec clamped = min(set(89.0f), max(set(-104.0f), x));
  // Adding 1.5 x 2^23 rounds to an integer and leaves it in the low bits: no conversion, which has no answer for NaN.
  const Vec magic = set(0x1.8p23f);
  const Vec shifted = fma(clamped, set(0x1.715476p0f), magic);
  const Vec n = shifted - magic;
  Vec r = fma(n, set(-0x1.62e4p-1f), clamped);
  r = fma(n, set(-0x1.7f7d1cp-20f), r);
  constexpr float P[] = {0x1.000000p-1f, 0x1.555556p-3f, 0x1.5554e8p-5f, 0x1.1110e0p-7f, 0x1.6d44e4p-10f, 0x1.a1267ep-13f};
  const Vec p = fma(r * r, polynomial(r, P), r) + set(1.0f);
  // 2^n in two factors: n reaches from -150 to 128, beyond the exponents of a float.
  const Int whole = bits(shifted) - bits(magic);
  const Int half = shift_right<1>(whole);
  const Int bias = set_int(127);
  const Vec one = from_bits(shift_left<23>(half + bias));
  const Vec other = from_bits(shift_left<23>(whole - half + bias));
  return p * one * other;
}

// e^-|x| never overflows, and neither branch cancels.
inline Vec sigmoid(Vec x) {
  const Vec e = exponential(negative(absolute(x)));
  const Vec one = set(1.0f);
  const Vec low = select(less(x, set(0.0f)), e, one);
  return low / (one + e);
}

inline Vec hyperbolic_tangent(Vec x) {
  constexpr float P[] = {-0x1.555556p-2f, 0x1.1110eap-3f, -0x1.ba08c4p-5f, 0x1.64a976p-6f, -0x1.116a16p-7f, 0x1.2c83c0p-9f};
  const Vec t = absolute(x);
  const Vec z = x * x;
  const Vec small = fma(x * z, polynomial(z, P), x);
  const Vec e = exponential(t + t);
  const Vec one = set(1.0f);
  const Vec large = with_sign(one - set(2.0f) / (e + one), x);
  // A NaN is not less than anything: it takes the branch that keeps it.
  return select(less(set(0.625f), t), large, small);
}

// erf(|x|), and erfc(|x|) beside it for those who need the small end of it.
inline Vec error_function(Vec x) {
  constexpr float P[] = {0x1.06eba8p-3f, -0x1.81273ep-2f, 0x1.ce2d10p-4f, -0x1.b7fabap-6f, 0x1.541270p-8f, -0x1.a45088p-11f,
                         0x1.4a5690p-14f};
  // log erfc(t) for t in [1, 4.1]; erf is 1 in float32 from 3.92 on.
  constexpr float Q[] = {0x1.3868fap-12f, -0x1.2150f4p0f,  -0x1.4393d0p-1f, -0x1.c2402cp-4f, 0x1.af652ep-6f,
                         -0x1.35c54ap-8f, 0x1.351ea0p-11f, -0x1.7b017ep-15f, 0x1.ab4538p-20f};
  const Vec t = absolute(x);
  const Vec small = fma(x, polynomial(x * x, P), x);
  const Vec large = with_sign(set(1.0f) - exponential(polynomial(min(t, set(4.1f)), Q)), x);
  return select(less(set(1.0f), t), large, small);
}

inline Vec gelu(Vec x) {
  const Vec half = set(0.5f) * x;
  return fma(half, error_function(x * set(0x1.6a09e6p-1f)), half);
}

// The usual approximation x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
inline Vec gelu_tanh(Vec x) {
  const Vec inner = set(0x1.988454p-1f) * fma(set(0.044715f) * x * x, x, x);
  const Vec half = set(0.5f) * x;
  return fma(half, hyperbolic_tangent(inner), half);
}

template <ActivationKind K>
inline Vec activated(Vec x, Vec alpha, Vec beta) {
  const Vec zero = set(0.0f);
  const Vec one = set(1.0f);
  if constexpr (K == ActivationKind::relu) {
    return max(zero, x);
  } else if constexpr (K == ActivationKind::leaky_relu) {
    return select(less(x, zero), alpha * x, x);
  } else if constexpr (K == ActivationKind::clip) {
    return min(beta, max(alpha, x));
  } else if constexpr (K == ActivationKind::sigmoid) {
    return sigmoid(x);
  } else if constexpr (K == ActivationKind::hard_sigmoid) {
    return min(one, max(zero, fma(alpha, x, beta)));
  } else if constexpr (K == ActivationKind::hard_swish) {
    return x * min(one, max(zero, fma(x, set(1.0f / 6.0f), set(0.5f))));
  } else if constexpr (K == ActivationKind::swish) {
    return x * sigmoid(x);
  } else if constexpr (K == ActivationKind::tanh) {
    return hyperbolic_tangent(x);
  } else if constexpr (K == ActivationKind::gelu) {
    return gelu(x);
  } else if constexpr (K == ActivationKind::gelu_tanh) {
    return gelu_tanh(x);
  } else if constexpr (K == ActivationKind::erf) {
    return error_function(x);
  } else if constexpr (K == ActivationKind::exp) {
    return exponential(x);
  } else if constexpr (K == ActivationKind::sqrt) {
    return sqrt(x);
  } else if constexpr (K == ActivationKind::negative) {
    return negative(x);
  } else if constexpr (K == ActivationKind::absolute) {
    return absolute(x);
  } else {
    return x;
  }
}

// One vector; the switch is the same for every vector of a tensor, so it is predicted. Loops over long rows do better
// with activated<K> inside.
inline Vec activate(Vec x, Activation a) {
  const Vec alpha = set(a.alpha);
  const Vec beta = set(a.beta);
  switch (a.kind) {
    case ActivationKind::none: return x;
    case ActivationKind::relu: return activated<ActivationKind::relu>(x, alpha, beta);
    case ActivationKind::leaky_relu: return activated<ActivationKind::leaky_relu>(x, alpha, beta);
    case ActivationKind::clip: return activated<ActivationKind::clip>(x, alpha, beta);
    case ActivationKind::sigmoid: return activated<ActivationKind::sigmoid>(x, alpha, beta);
    case ActivationKind::hard_sigmoid: return activated<ActivationKind::hard_sigmoid>(x, alpha, beta);
    case ActivationKind::hard_swish: return activated<ActivationKind::hard_swish>(x, alpha, beta);
    case ActivationKind::swish: return activated<ActivationKind::swish>(x, alpha, beta);
    case ActivationKind::tanh: return activated<ActivationKind::tanh>(x, alpha, beta);
    case ActivationKind::gelu: return activated<ActivationKind::gelu>(x, alpha, beta);
    case ActivationKind::gelu_tanh: return activated<ActivationKind::gelu_tanh>(x, alpha, beta);
    case ActivationKind::erf: return activated<ActivationKind::erf>(x, alpha, beta);
    case ActivationKind::exp: return activated<ActivationKind::exp>(x, alpha, beta);
    case ActivationKind::sqrt: return activated<ActivationKind::sqrt>(x, alpha, beta);
    case ActivationKind::negative: return activated<ActivationKind::negative>(x, alpha, beta);
    case ActivationKind::absolute: return activated<ActivationKind::absolute>(x, alpha, beta);
  }
  return x;
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
