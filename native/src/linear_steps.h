// The steps that linear layers are made of.
#pragma once

#include <memory>
#include <vector>

#include "lane_product.h"
#include "secateur/weighted.h"
#include "weighted_kernels.h"

namespace secateur {

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

// Weights as rows; a vector is one feature of several rows of the batch.
std::unique_ptr<WeightedStep> make_batch_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                const Matrix& weights, const LayerRefs& refs, bool panel);

}  // namespace secateur
