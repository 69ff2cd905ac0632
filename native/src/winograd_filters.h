// The filters of a convolution through Winograd's transform.
#pragma once

#include "lane_plan.h"
#include "secateur/matrix.h"
#include "weight_blocks.h"
#include "weighted_kernels.h"

namespace secateur {

// [points][groups][out channels of the group][in channels of the group], points being groups of the product.
// `side`: 2 or 4 outputs; `taps`: 3 or 5; `shape`: the convolution as it is, of whatever stride.
WeightBlocks transform_filters(std::int64_t side, std::int64_t taps, const ConvolutionShape& shape,
                               const WeightedKernels& kernels, const Matrix& weights, const LanePlan& products);

}  // namespace secateur
