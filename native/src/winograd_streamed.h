// Winograd's F(4x4, 3x3) of filters that stay as few weights as they are: they are transformed while the layer runs, some
// output and input channels at a time, and used for all tiles. For layers of many channels and few tiles, where reading
// transformed filters - four times a dense layer's weights - from memory takes longer than their products.
#pragma once

#include <memory>

#include "lane_product.h"
#include "secateur/weighted.h"

namespace secateur {

// Of shapes that winograd_applicable(4, shape) allows.
bool streamed_winograd_applicable(const WeightedKernels& kernels);

std::unique_ptr<WeightedStep> make_streamed_winograd(const WeightedKernels& kernels, const ConvolutionShape& shape,
                                                     const Matrix& weights, const LayerRefs& refs);

}  // namespace secateur
