// Convolutions over lane tiles: sparse and in panels, lanes within an image or over images.
#pragma once

#include <memory>

#include "lane_product.h"
#include "secateur/weighted.h"

namespace secateur {

std::unique_ptr<WeightedStep> make_lane_convolution(const WeightedKernels& kernels, const ConvolutionShape& shape,
                                                    const Matrix& weights, const LayerRefs& refs, bool images,
                                                    bool panel);

}  // namespace secateur
