#include <algorithm>
#include <cstdint>
#include <memory>

#include "depthwise.h"
#include "lane_convolution.h"
#include "secateur/weighted.h"
#include "winograd.h"
#include "winograd_streamed.h"

namespace secateur {
namespace {

// Offsets into the packed input are 32 bits; the most that a band can take is bounded by what its region reads.
bool fits(const ConvolutionShape& s) {
  const std::int64_t rows = (s.out_height - 1) * s.stride_height + (s.kernel_height - 1) * s.dilation_height + 1;
  const std::int64_t columns = (s.out_width - 1) * s.stride_width + (s.kernel_width - 1) * s.dilation_width + 1;
  const std::int64_t channel = rows * (columns + s.stride_width) * MAX_LANES * 4;
  return channel <= INT32_MAX / (s.in_channels / s.groups);
}

// Within a block of the sparse kernels, offsets are 16 bits of vectors: a channel of one row of windows must fit.
bool addressable(const ConvolutionShape& s, std::int64_t lanes) {
  const std::int64_t rows = (s.pool_height - 1) * s.stride_height + (s.kernel_height - 1) * s.dilation_height + 1;
  const std::int64_t columns =
      ((s.out_width + lanes - 1) / lanes + s.pool_width) * s.stride_width + (s.kernel_width - 1) * s.dilation_width;
  return 2 * rows * columns <= 65536;
}

// Pool windows of a few pixels, of which there is at least one.
bool windows_fit(const ConvolutionShape& s) {
  return s.pool_height <= std::min<std::int64_t>(MAX_POOL, s.out_height) &&
         s.pool_width <= std::min<std::int64_t>(MAX_POOL, s.out_width);
}

}  // namespace

ConvolutionKernel whole_width(ConvolutionKernel kernel) {
  switch (kernel) {
    case ConvolutionKernel::sparse_columns_256: return ConvolutionKernel::sparse_columns;
    case ConvolutionKernel::sparse_images_256: return ConvolutionKernel::sparse_images;
    case ConvolutionKernel::panel_columns_256: return ConvolutionKernel::panel_columns;
    case ConvolutionKernel::panel_images_256: return ConvolutionKernel::panel_images;
    case ConvolutionKernel::winograd_256: return ConvolutionKernel::winograd;
    case ConvolutionKernel::winograd4_256: return ConvolutionKernel::winograd4;
    default: return kernel;
  }
}

bool applicable(ConvolutionKernel kernel, const ConvolutionShape& shape, Isa isa) {
  if (!windows_fit(shape)) return false;
  if (const ConvolutionKernel whole = whole_width(kernel); whole != kernel) {
    return isa == Isa::avx512 && applicable(whole, shape, Isa::avx2);
  }
  switch (kernel) {
    case ConvolutionKernel::sparse_columns: return fits(shape) && addressable(shape, weighted_kernels(isa).lanes);
    case ConvolutionKernel::panel_columns: return fits(shape);
    // Two lanes or more are images.
    case ConvolutionKernel::sparse_images:
      return fits(shape) && shape.images > 1 && addressable(shape, weighted_kernels(isa).lanes / 2);
    case ConvolutionKernel::panel_images: return fits(shape) && shape.images > 1;
    case ConvolutionKernel::depthwise: return fits(shape) && !shape.pooled() && shape.groups == shape.in_channels;
    case ConvolutionKernel::winograd:
    case ConvolutionKernel::winograd4: return fits(shape) && winograd_applicable(shape);
    case ConvolutionKernel::winograd4_streamed:
      return shape.kernel_height == 3 && shape.stride_height == 1 && applicable(ConvolutionKernel::winograd4, shape, isa) &&
             streamed_winograd_applicable(weighted_kernels(isa));
    default: return false;
  }
}

std::unique_ptr<WeightedStep> make_convolution(ConvolutionKernel kernel, Isa isa, const ConvolutionShape& shape,
                                               const Matrix& weights, Ref source, Ref output, Ref bias, Ref residual,
                                               Activation activation) {
  if (const ConvolutionKernel whole = whole_width(kernel); whole != kernel) {
    return make_convolution(whole, Isa::avx2, shape, weights, source, output, bias, residual, activation);
  }
  const WeightedKernels& kernels = weighted_kernels(isa);
  const LayerRefs refs{source, output, bias, residual, activation};
  switch (kernel) {
    case ConvolutionKernel::sparse_columns: return make_lane_convolution(kernels, shape, weights, refs, false, false);
    case ConvolutionKernel::sparse_images: return make_lane_convolution(kernels, shape, weights, refs, true, false);
    case ConvolutionKernel::panel_columns: return make_lane_convolution(kernels, shape, weights, refs, false, true);
    case ConvolutionKernel::panel_images: return make_lane_convolution(kernels, shape, weights, refs, true, true);
    case ConvolutionKernel::depthwise: return make_depthwise(kernels, shape, weights, refs);
    case ConvolutionKernel::winograd: return make_winograd(2, kernels, shape, weights, refs);
    case ConvolutionKernel::winograd4: return make_winograd(4, kernels, shape, weights, refs);
    case ConvolutionKernel::winograd4_streamed: return make_streamed_winograd(kernels, shape, weights, refs);
    default: return nullptr;
  }
}

}  // namespace secateur
