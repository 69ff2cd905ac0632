// What people call the members of the enumerations, in their order.
#pragma once

namespace secateur {

inline constexpr const char* ISA_NAMES[] = {"scalar", "avx2", "avx512"};
inline constexpr const char* ACTIVATION_NAMES[] = {
    "none", "relu", "leaky_relu", "clip", "sigmoid", "hard_sigmoid", "hard_swish", "swish",
    "tanh", "gelu", "gelu_tanh",  "erf",  "exp",     "sqrt",         "negative",   "absolute"};
inline constexpr const char* BINARY_NAMES[] = {"add", "subtract", "multiply", "divide", "power", "minimum", "maximum"};
inline constexpr const char* POOL_NAMES[] = {"max", "average"};
inline constexpr const char* REDUCE_NAMES[] = {"mean", "sum", "max"};
inline constexpr const char* PAD_NAMES[] = {"constant", "reflect", "edge"};
inline constexpr const char* CONVOLUTION_NAMES[] = {"sparse_columns", "sparse_images", "panel_columns",
                                                    "panel_images",   "depthwise",     "winograd",
                                                    "winograd4",
                                                    "sparse_columns_256",
                                                    "sparse_images_256",
                                                    "panel_columns_256",
                                                    "panel_images_256",
                                                    "winograd_256",
                                                    "winograd4_256",
                                                    "winograd4_streamed"};
inline constexpr const char* LINEAR_NAMES[] = {"inputs", "outputs", "dense",           "sparse_batch",
                                               "panel_batch", "sparse_batch_256", "panel_batch_256", "strips",
                                               "dense_batch", "bitmask"};

}  // namespace secateur
