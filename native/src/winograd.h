// Dense 3x3 convolutions of stride 1 by Winograd's F(2x2, 3x3): 16 products instead of 36 for four outputs.
#pragma once

#include <memory>

#include "lane_product.h"
#include "secateur/weighted.h"

namespace secateur {

bool winograd_applicable(const ConvolutionShape& shape);

std::unique_ptr<WeightedStep> make_winograd(const WeightedKernels& kernels, const ConvolutionShape& shape,
                                            const Matrix& weights, const LayerRefs& refs);

}  // namespace secateur
