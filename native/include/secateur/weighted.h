// The layers that hold weights: convolution and linear, sparse and dense, behind one door.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "secateur/activation.h"
#include "secateur/isa.h"
#include "secateur/matrix.h"
#include "secateur/step.h"

namespace secateur {

// A step that may have packed its weights into memory of its own.
class WeightedStep : public Step {
 public:
  // Bytes of weights the step owns, beyond the matrix it was made from.
  virtual std::size_t packed_bytes() const noexcept { return 0; }
  // Whether it works on the matrix's memory, or on some of it, in place.
  virtual bool reads_matrix() const noexcept { return false; }
};

// All tensors are float32, images x channels x height x width. A 1-D convolution has height 1. The pads at the bottom
// and at the right follow from the output's size.
struct ConvolutionShape {
  std::int64_t images = 1, in_channels = 1, in_height = 1, in_width = 1;
  std::int64_t out_channels = 1, out_height = 1, out_width = 1;
  std::int64_t kernel_height = 1, kernel_width = 1;
  std::int64_t stride_height = 1, stride_width = 1;
  std::int64_t pad_top = 0, pad_left = 0;
  std::int64_t dilation_height = 1, dilation_width = 1;
  std::int64_t groups = 1;
  // Of the output only the maxima of windows of this size are kept, which lie one after another from its first pixel:
  // what is left over at the bottom and at the right is dropped. 1 x 1: all of it.
  std::int64_t pool_height = 1, pool_width = 1;

  bool pooled() const { return pool_height * pool_width > 1; }
  std::int64_t pooled_height() const { return out_height / pool_height; }
  std::int64_t pooled_width() const { return out_width / pool_width; }
};

// The order is part of the binding.
enum class ConvolutionKernel : std::uint8_t {
  sparse_columns,  // non-zeros one by one; a vector is neighbouring columns of the output
  sparse_images,   // the same; a vector is one pixel of several images
  panel_columns,   // several output channels share each load: dense and nearly dense weights
  panel_images,
  depthwise,  // one input channel a group: direct
  winograd,   // dense 3x3 or 5x5, or so many taps from a stride to the next, in tiles of 2x2
  winograd4,  // the same in tiles of 4x4: fewer products, more memory, less exact
  // The same in vectors of 256 bits where there are wider ones: small maps fill those badly, and on some processors (Ice
  // Lake) products with numbers from memory are no faster in them.
  sparse_columns_256,
  sparse_images_256,
  panel_columns_256,
  panel_images_256,
  winograd_256,
  winograd4_256,
  winograd4_streamed,  // of filters that stay as small as they are, and are transformed while the layer runs
};

// Itself, or the one that it is the narrow form of.
ConvolutionKernel whole_width(ConvolutionKernel kernel);

// Whether the kernel can compute this shape on this instruction set at all; whether it is fast is for a clock to say.
bool applicable(ConvolutionKernel kernel, const ConvolutionShape& shape, Isa isa);

// output = activation(convolution(source, weights) + bias + residual), or the maxima of its windows; those are the same
// to the bit as a pool's. With windows there is no residual.
//
// The weights' lines are output channels, their positions (channel of the group, kernel row, kernel column). They are
// packed while the step is made: the matrix's memory may go afterwards, unless the step reads_matrix(). `bias` and
// `residual` (of the output's shape; it may be the output itself) may be of Space::none.
std::unique_ptr<WeightedStep> make_convolution(ConvolutionKernel kernel, Isa isa, const ConvolutionShape& shape,
                                               const Matrix& weights, Ref source, Ref output, Ref bias, Ref residual,
                                               Activation activation);

// output[rows, out] = activation(source[rows, in] weights^T + bias + residual).
struct LinearShape {
  std::int64_t rows = 1, in = 1, out = 1;
};

// The order is part of the binding.
enum class LinearKernel : std::uint8_t {
  inputs,        // input by input, zero inputs skipped: needs the weights as columns
  outputs,       // output by output, gathering inputs: needs them as rows
  dense,         // output by output over dense rows
  sparse_batch,  // a vector is one feature of several rows of the batch
  panel_batch,
  sparse_batch_256,  // in vectors of 256 bits where there are wider ones
  panel_batch_256,
  strips,       // several outputs at once, inputs picked from registers: sparse layers
  dense_batch,  // a vector is outputs that lie side by side, for several rows of the batch: dense and nearly dense weights
  bitmask,      // output by output, values spread over vectors of inputs by their bits: neither few weights nor nearly all
};

// `columns`: the matrix's lines are inputs and its length is outputs; else lines are outputs and the length is inputs.
bool applicable(LinearKernel kernel, const LinearShape& shape, const Matrix& weights, bool columns, Isa isa);

// Bytes of arena that the steps need between themselves; 64-aligned.
std::size_t linear_workspace_bytes(LinearKernel kernel, const LinearShape& shape, const Matrix& weights, bool columns,
                                   Isa isa);

// One or two steps, to run in order. Where a step works on the matrix in place, the matrix's memory must outlive it.
std::vector<std::unique_ptr<WeightedStep>> make_linear(LinearKernel kernel, Isa isa, const LinearShape& shape,
                                                       const Matrix& weights, bool columns, Ref source, Ref output,
                                                       Ref bias, Ref residual, Activation activation, Ref workspace);

}  // namespace secateur
