#include <algorithm>

#include "aligned.h"
#include "linear_steps.h"
#include "matrix_entries.h"
#include "secateur/weighted.h"

namespace secateur {
namespace {

// Looping over rows reads the whole matrix for each: beyond some rows the batch kernels are better by far.
constexpr std::int64_t MAX_LOOPED_ROWS = 16;

// Pruned weights may be written out with their zeros where that takes little, or hardly more than they do: in a cache a
// dense product is the faster one from a fifth of the weights on, from memory it is where it reads no more.
constexpr std::int64_t DENSE_BYTES = 2 << 20;

bool may_be_written_out(const Matrix& weights) {
  const std::int64_t dense = weights.lines * weights.length * value_bytes(weights.type);
  return dense <= std::max(DENSE_BYTES, 2 * weights.entries * (value_bytes(weights.type) + 1));
}

// Packed anew, in 5 ns an entry: where weights come from memory at every call, strips gain least and take longest to
// make. (AlexNet with all of its linear layers in strips was 3 % faster, and took twice as long to load.)
constexpr std::int64_t MAX_STRIP_ENTRIES = 1 << 21;
constexpr std::int64_t SPARSEST_STRIPS = 64;  // positions an entry: at that, to describe strips takes half of what entries do

bool fits_strips(const Matrix& weights) {
  return weights.layout != LayoutKind::dense && weights.entries <= MAX_STRIP_ENTRIES &&
         weights.lines * weights.length <= SPARSEST_STRIPS * weights.entries;
}

}  // namespace

Home home_of(std::int64_t bytes) noexcept {
  constexpr std::int64_t IN_CORES = 4 << 20;  // two cores' second-level caches, and more
  constexpr std::int64_t IN_LAST_LEVEL = 32 << 20;  // what a virtual machine says of it is not to be believed
  if (bytes <= IN_CORES) return Home::core;
  return bytes <= IN_LAST_LEVEL ? Home::last_level : Home::memory;
}

bool applicable(LinearKernel kernel, const LinearShape& shape, const Matrix& weights, bool columns, Isa isa) {
  switch (kernel) {
    case LinearKernel::inputs: return columns && shape.rows <= MAX_LOOPED_ROWS;
    case LinearKernel::bitmask:
    case LinearKernel::outputs: return !columns && weights.layout != LayoutKind::dense && shape.rows <= MAX_LOOPED_ROWS;
    case LinearKernel::dense:
      if (columns) return false;
      return weights.layout == LayoutKind::dense || (shape.rows <= MAX_LOOPED_ROWS && may_be_written_out(weights));
    // In vectors of 256 bits a strip has 8 inputs and an entry or two an output: a mispredicted branch for each made it
    // four times slower than going entry by entry.
    case LinearKernel::strips:
      return isa != Isa::avx2 && !columns && shape.rows <= MAX_LOOPED_ROWS && fits_strips(weights);
    case LinearKernel::dense_batch:
      return shape.rows > 1 && !columns && (weights.layout == LayoutKind::dense || may_be_written_out(weights));
    case LinearKernel::sparse_batch:
    case LinearKernel::panel_batch: return shape.rows > 1;
    case LinearKernel::sparse_batch_256:
      return isa == Isa::avx512 && applicable(LinearKernel::sparse_batch, shape, weights, columns, Isa::avx2);
    case LinearKernel::panel_batch_256:
      return isa == Isa::avx512 && applicable(LinearKernel::panel_batch, shape, weights, columns, Isa::avx2);
  }
  return false;
}

std::size_t linear_workspace_bytes(LinearKernel kernel, const LinearShape& shape, const Matrix& weights, bool, Isa) {
  if (kernel != LinearKernel::inputs) return 0;
  const std::int64_t partials = input_partials(shape, weights);
  if (partials == 1) return 0;
  return aligned_up(static_cast<std::size_t>(shape.rows * partials * shape.out) * sizeof(float));
}

std::vector<std::unique_ptr<WeightedStep>> make_linear(LinearKernel kernel, Isa isa, const LinearShape& shape,
                                                       const Matrix& weights, bool columns, Ref source, Ref output,
                                                       Ref bias, Ref residual, Activation activation, Ref workspace) {
  const bool narrow = kernel == LinearKernel::sparse_batch_256 || kernel == LinearKernel::panel_batch_256;
  const WeightedKernels& kernels = weighted_kernels(narrow ? Isa::avx2 : isa);
  const LayerRefs refs{source, output, bias, residual, activation};
  std::vector<std::unique_ptr<WeightedStep>> steps;
  switch (kernel) {
    case LinearKernel::inputs: return make_inputs_linear(kernels, shape, weights, refs, workspace);
    case LinearKernel::outputs:
    case LinearKernel::dense:
      steps.push_back(make_outputs_linear(kernels, shape, weights, refs, kernel == LinearKernel::dense));
      break;
    case LinearKernel::dense_batch: steps.push_back(make_dense_batch_linear(kernels, shape, weights, refs)); break;
    case LinearKernel::bitmask: steps.push_back(make_bitmask_linear(kernels, shape, weights, refs)); break;
    case LinearKernel::strips: steps.push_back(make_strips_linear(kernels, shape, weights, refs)); break;
    case LinearKernel::sparse_batch:
    case LinearKernel::panel_batch:
    case LinearKernel::sparse_batch_256:
    case LinearKernel::panel_batch_256: {
      const bool panel = kernel == LinearKernel::panel_batch || kernel == LinearKernel::panel_batch_256;
      steps.push_back(make_batch_linear(kernels, shape, weights, columns, refs, panel));
      break;
    }
  }
  return steps;
}

}  // namespace secateur
