// Convolutions of one input channel a group.
#pragma once

#include <memory>

#include "lane_product.h"
#include "secateur/weighted.h"

namespace secateur {

std::unique_ptr<WeightedStep> make_depthwise(const WeightedKernels& kernels, const ConvolutionShape& shape,
                                             const Matrix& weights, const LayerRefs& refs);

}  // namespace secateur
