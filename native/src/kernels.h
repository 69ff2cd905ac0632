// The inner loops of the steps without weights: one table per file of src/<isa>/, chosen when a step is made.
#pragma once

#include <cstdint>

#include "secateur/activation.h"
#include "secateur/isa.h"
#include "secateur/steps.h"

namespace secateur {

// Sizes are in elements; pointers need no more alignment than a float. Nothing is read or written beyond the sizes.
struct ElementwiseKernels {
  // y[i] = activation(x[i]); y may be x.
  void (*activate)(const float* x, float* y, std::int64_t count, Activation activation);
  // y[i] = left[i * left_stride] (kind) right[i * right_stride]; strides are 0 or 1; y may be either.
  void (*binary)(BinaryKind kind, const float* left, std::int64_t left_stride, const float* right,
                 std::int64_t right_stride, float* y, std::int64_t count);
};

// Whole vectors of every second number.
constexpr std::int64_t POOL_SLACK = 32;

// Row r of a block of them begins at x + r * x_pitch, and what is made of it at y + r * y_pitch.
struct PoolKernels {
  // y[i] = the largest number or the sum of x[i + j * tap_pitch] over j < taps.
  void (*rows)(PoolKind kind, const float* x, std::int64_t x_pitch, std::int64_t taps, std::int64_t tap_pitch, float* y,
               std::int64_t y_pitch, std::int64_t count, std::int64_t row_count);
  // y[i] = the same of x[i * stride + j * dilation] over j < taps. Reads POOL_SLACK numbers beyond the last one needed.
  void (*columns)(PoolKind kind, const float* x, std::int64_t x_pitch, std::int64_t taps, std::int64_t stride,
                  std::int64_t dilation, float* y, std::int64_t y_pitch, std::int64_t count, std::int64_t row_count);
  // y[i] /= factor * divisors[i].
  void (*divide)(float* y, const float* divisors, float factor, std::int64_t count);
};

struct NormKernels {
  // One row: the softmax, and its logarithm.
  void (*softmax[2])(const float* x, float* y, std::int64_t size);
  // `count` neighbouring columns of a (size, pitch) matrix, likewise.
  void (*softmax_columns[2])(const float* x, float* y, std::int64_t size, std::int64_t pitch, std::int64_t count);
  // One row; scale and bias may be null.
  void (*layer_norm)(const float* x, float* y, std::int64_t size, const float* scale, const float* bias, float epsilon);
  // y[i] = x[i]^2.
  void (*square)(const float* x, float* y, std::int64_t count);
  // y[i] = x[i] / (k + factor * sum over j of squares[j][i])^beta.
  void (*response)(const float* x, const float* const* squares, std::int64_t square_count, float* y, std::int64_t count,
                   float factor, float beta, float k);
};

struct ReduceKernels {
  // Sum or largest number of one row of at least one element.
  float (*row)(ReduceKind kind, const float* x, std::int64_t count);
  // total[i] = total[i] + x[i], or the larger.
  void (*accumulate)(ReduceKind kind, float* total, const float* x, std::int64_t count);
};

struct MatMulKernels {
  std::int64_t columns;  // of a packed panel
  // panel[k][j] = right[k * pitch + j] for j < width, zeros up to `columns`.
  void (*pack)(const float* right, std::int64_t pitch, std::int64_t depth, std::int64_t width, float* panel);
  // output[i][j] = (go_on ? output[i][j] : 0) + sum over k of left[i][k] * panel[k][j], for j < width; in the order of
  // k, each product fused.
  void (*multiply)(const float* left, std::int64_t left_pitch, std::int64_t rows, std::int64_t depth, const float* panel,
                   float* output, std::int64_t output_pitch, std::int64_t width, bool go_on);
};

#define SECATEUR_DECLARE_KERNELS(isa)                \
  namespace isa {                                    \
  const ElementwiseKernels& elementwise_kernels();   \
  const PoolKernels& pool_kernels();                 \
  const NormKernels& norm_kernels();                 \
  const ReduceKernels& reduce_kernels();             \
  const MatMulKernels& matmul_kernels();             \
  }
SECATEUR_DECLARE_KERNELS(scalar)
SECATEUR_DECLARE_KERNELS(avx2)
SECATEUR_DECLARE_KERNELS(avx512)
#undef SECATEUR_DECLARE_KERNELS

#if SECATEUR_X86
#define SECATEUR_KERNELS(isa, table)                         \
  ((isa) == ::secateur::Isa::avx512 ? ::secateur::avx512::table() \
   : (isa) == ::secateur::Isa::avx2 ? ::secateur::avx2::table()   \
                                    : ::secateur::scalar::table())
#else
#define SECATEUR_KERNELS(isa, table) (static_cast<void>(isa), ::secateur::scalar::table())
#endif

}  // namespace secateur
