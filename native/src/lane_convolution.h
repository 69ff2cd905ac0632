// Convolutions over lane tiles: sparse and in panels, lanes within an image or over images.
#pragma once

#include <memory>

#include "lane_plan.h"
#include "secateur/weighted.h"

namespace secateur {

struct LayerRefs {
  Ref source, output, bias, residual;
  Activation activation;
};

std::unique_ptr<WeightedStep> make_lane_convolution(const WeightedKernels& kernels, const ConvolutionShape& shape,
                                                    const Matrix& weights, const LayerRefs& refs, bool images, bool panel);

}  // namespace secateur
