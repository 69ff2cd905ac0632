// A function of one number, fused behind whatever made the number.
#pragma once

#include <cstdint>

namespace secateur {

// The order is part of the binding: secateur.format.graph.ActivationKind in the same order, after `none`.
enum class ActivationKind : std::uint8_t {
  none,
  relu,          // max(x, 0)
  leaky_relu,    // x if x >= 0 else alpha x
  clip,          // min(max(x, alpha), beta)
  sigmoid,
  hard_sigmoid,  // min(max(alpha x + beta, 0), 1)
  hard_swish,    // x min(max(x / 6 + 1/2, 0), 1)
  swish,         // x sigmoid(x)
  tanh,
  gelu,          // x (1 + erf(x / sqrt 2)) / 2
  gelu_tanh,     // its approximation by tanh
  erf,
  exp,
  sqrt,
  negative,
  absolute,
};

struct Activation {
  ActivationKind kind = ActivationKind::none;
  float alpha = 0;
  float beta = 0;
};

}  // namespace secateur
