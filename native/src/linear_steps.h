// The steps that linear layers are made of.
#pragma once

#include <memory>
#include <vector>

#include "lane_product.h"
#include "secateur/weighted.h"
#include "weighted_kernels.h"

namespace secateur {

// Where weights of so many bytes are when their layer runs again.
Home home_of(std::int64_t bytes) noexcept;

// How many partial sums the input-major product keeps: of the layer alone, never of the threads.
std::int64_t input_partials(const LinearShape& shape, const Matrix& weights);

// Weights as columns; skips the inputs that are zero.
std::vector<std::unique_ptr<WeightedStep>> make_inputs_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                              const Matrix& weights, const LayerRefs& refs,
                                                              Ref workspace);

// Weights as rows, dense or sparse.
std::unique_ptr<WeightedStep> make_outputs_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                  const Matrix& weights, const LayerRefs& refs, bool dense);

// Weights as rows of a bitmask.
std::unique_ptr<WeightedStep> make_bitmask_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                  const Matrix& weights, const LayerRefs& refs);

// Weights as rows; a vector is one input of several outputs each.
std::unique_ptr<WeightedStep> make_strips_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                 const Matrix& weights, const LayerRefs& refs);

// Weights as rows, written out with their zeros; a vector is neighbouring outputs of one row of the batch.
std::unique_ptr<WeightedStep> make_dense_batch_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                      const Matrix& weights, const LayerRefs& refs);

// Weights as rows or columns; a vector is one feature of several rows of the batch.
std::unique_ptr<WeightedStep> make_batch_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                const Matrix& weights, bool columns, const LayerRefs& refs, bool panel);

// output[row][first + i] = activation(sums[i] + bias[first + i] + residual[row][first + i]), of so many outputs of a row.
inline void finish_outputs(const WeightedKernels& kernels, const LinearShape& shape, const LayerRefs& refs,
                           const Memory& memory, std::int64_t row, std::int64_t first, std::int64_t count,
                           const float* sums) noexcept {
  const float* const bias = memory.read<float>(refs.bias);
  const float* const residual = memory.read<float>(refs.residual);
  const std::int64_t to = row * shape.out + first;
  kernels.finish({sums, bias == nullptr ? nullptr : bias + first, residual == nullptr ? nullptr : residual + to,
                  memory.write<float>(refs.output) + to, count, 0.0f, refs.activation});
}

}  // namespace secateur
