// The steps that hold no weights. Each is made by a function that checks its sizes and throws std::invalid_argument.
//
// All tensors are float32 and row-major, lists of sizes have one number per dimension, at most MOST_DIMENSIONS. Source
// and output must not overlap, except that elementwise and binary steps may write where they read the same element.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "secateur/activation.h"
#include "secateur/isa.h"
#include "secateur/step.h"

namespace secateur {

using Shape = std::vector<std::int64_t>;

constexpr std::size_t MOST_DIMENSIONS = 12;

// The orders are part of the binding.
enum class BinaryKind : std::uint8_t { add, subtract, multiply, divide, power, minimum, maximum };
enum class PoolKind : std::uint8_t { max, average };
enum class ReduceKind : std::uint8_t { mean, sum, max };
enum class PadMode : std::uint8_t { constant, reflect, edge };

std::unique_ptr<Step> make_elementwise(Isa isa, Ref source, Ref output, std::int64_t count, Activation activation);

// Broadcast as NumPy does; output must be the broadcast shape.
std::unique_ptr<Step> make_binary(Isa isa, BinaryKind kind, Ref left, Ref right, Ref output, const Shape& left_shape,
                                  const Shape& right_shape, const Shape& output_shape, Activation activation);

// NCHW; a 1-D pool has height 1. Sizes are in elements.
struct PoolShape {
  std::int64_t images = 1, channels = 1, in_height = 1, in_width = 1, out_height = 1, out_width = 1;
  std::int64_t kernel_height = 1, kernel_width = 1;
  std::int64_t stride_height = 1, stride_width = 1;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  std::int64_t dilation_height = 1, dilation_width = 1;
};

// Padding never is the largest number. `count_padding`: the mean divides by padded places too, but never by those
// beyond the padding (where the last window of ceil mode reaches).
std::unique_ptr<Step> make_pool(Isa isa, PoolKind kind, Ref source, Ref output, const PoolShape& shape,
                                bool count_padding);

// Over the middle dimension of (outer, size, inner); or the logarithm of it.
std::unique_ptr<Step> make_softmax(Isa isa, Ref source, Ref output, std::int64_t outer, std::int64_t size,
                                   std::int64_t inner, bool logarithm = false);

// (x - mean) / sqrt(variance + epsilon) * scale + bias over the last dimension of (outer, size); scale and bias of
// that size, or Space::none.
std::unique_ptr<Step> make_layer_norm(Isa isa, Ref source, Ref output, Ref scale, Ref bias, std::int64_t outer,
                                      std::int64_t size, float epsilon);

// x / (k + alpha / size * sum x^2)^beta over the (size - 1) / 2 channels before and size / 2 after.
struct LocalResponseNormShape {
  std::int64_t images = 1, channels = 1, plane = 1;
};
std::unique_ptr<Step> make_local_response_norm(Isa isa, Ref source, Ref output, const LocalResponseNormShape& shape,
                                               std::int64_t size, float alpha, float beta, float k);

// For each of `outer` places sizes[i] elements of each source, one source after another.
std::unique_ptr<Step> make_concat(const std::vector<Ref>& sources, const Shape& sizes, Ref output, std::int64_t outer);

std::unique_ptr<Step> make_copy(Ref source, Ref output, std::int64_t count);

// output[i, j...] = source[starts + steps * (i, j...)]; steps may be negative.
std::unique_ptr<Step> make_slice(Ref source, Ref output, const Shape& shape_in, const Shape& starts, const Shape& steps,
                                 const Shape& shape_out);

// output.shape[i] = source.shape[permutation[i]].
std::unique_ptr<Step> make_transpose(Ref source, Ref output, const Shape& shape_in, const Shape& permutation);

std::unique_ptr<Step> make_expand(Ref source, Ref output, const Shape& shape_in, const Shape& shape_out);

// Reflection does not repeat the edge; it may go to and fro more than once.
std::unique_ptr<Step> make_pad(Ref source, Ref output, const Shape& shape_in, const Shape& before, const Shape& shape_out,
                               PadMode mode, float value);

// Over axes (not negative, each once). A NaN makes the largest number NaN.
std::unique_ptr<Step> make_reduce(Isa isa, ReduceKind kind, Ref source, Ref output, const Shape& shape_in,
                                  const Shape& axes);

// output[o, j, i] = source[o, indices[j], i] with int64 indices, negative ones from the end. An index out of range
// gives NaN: indices may be inputs, and a running program has nobody to complain to.
std::unique_ptr<Step> make_gather(Ref source, Ref indices, Ref output, std::int64_t outer, std::int64_t size,
                                  std::int64_t inner, std::int64_t count);

// Over the last two dimensions, the leading ones broadcast.
std::unique_ptr<Step> make_matmul(Isa isa, Ref left, Ref right, Ref output, const Shape& left_shape,
                                  const Shape& right_shape, const Shape& output_shape);

}  // namespace secateur
