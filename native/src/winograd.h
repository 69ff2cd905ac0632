// Dense 3x3 convolutions of stride 1 by Winograd's F(2x2, 3x3), 16 products instead of 36 for four outputs, or
// F(4x4, 3x3), 36 products instead of 144 for sixteen, whose sums are of larger numbers and so a little less exact. 5x5
// convolutions by F(2x2, 5x5) or F(4x4, 5x5), 36 products instead of 100 for four outputs or 64 instead of 400 for
// sixteen. Larger filters with a stride fall apart into such ones: polyphase.h.
#pragma once

#include <memory>

#include "lane_product.h"
#include "secateur/weighted.h"

namespace secateur {

bool winograd_applicable(const ConvolutionShape& shape);

// `side`: 2 or 4.
std::unique_ptr<WeightedStep> make_winograd(int side, const WeightedKernels& kernels, const ConvolutionShape& shape,
                                            const Matrix& weights, const LayerRefs& refs);

}  // namespace secateur
