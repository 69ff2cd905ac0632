#include <algorithm>
#include <iterator>

#include "abi.h"
#include "lane_product.h"
#include "secateur/names.h"
#include "secateur/weighted.h"

using namespace secateur;
using namespace secateur::abi;

namespace {

// One dimension of a convolution: its windows may reach into the padding on both sides, but not skip the input.
void check_windows(const char* dimension, std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                   std::int64_t pad, std::int64_t dilation) {
  constexpr std::int64_t MOST = 1 << 24;
  const auto [low, high] = std::minmax({in, out, kernel, stride, dilation});
  require(low >= 1 && high <= MOST && 0 <= pad && pad <= MOST,
          std::string(dimension) + ": sizes, strides and dilations are 1 to 2^24, padding 0 to 2^24");
  const std::int64_t reach = (kernel - 1) * dilation;
  require(pad <= reach + stride && (out - 1) * stride - pad <= in + reach + stride,
          std::string(dimension) + ": " + std::to_string(out) + " windows of " + std::to_string(reach + 1) + " in steps of " +
              std::to_string(stride) + " from " + std::to_string(-pad) + " leave an input of " + std::to_string(in));
}

ConvolutionShape checked(const secateur_convolution_shape& c) {
  check_windows("height", c.in_height, c.out_height, c.kernel_height, c.stride_height, c.pad_top, c.dilation_height);
  check_windows("width", c.in_width, c.out_width, c.kernel_width, c.stride_width, c.pad_left, c.dilation_width);
  require(c.images >= 1 && c.in_channels >= 1 && c.out_channels >= 1 && c.groups >= 1, "at least one image, channel and group");
  require(c.in_channels % c.groups == 0 && c.out_channels % c.groups == 0,
          std::to_string(c.in_channels) + " and " + std::to_string(c.out_channels) + " channels do not fall into " +
              std::to_string(c.groups) + " groups");
  require(c.pool_height >= 1 && c.pool_height <= c.out_height && c.pool_width >= 1 && c.pool_width <= c.out_width,
          "pool windows: expected at least 1 x 1 and at most the output's " + text({c.out_height, c.out_width}) +
              ", found " + text({c.pool_height, c.pool_width}));
  elements({c.images, c.in_channels, c.in_height, c.in_width});
  elements({c.images, c.out_channels, c.out_height, c.out_width});
  elements({c.out_channels, c.in_channels, c.kernel_height, c.kernel_width});
  return {c.images,       c.in_channels,   c.in_height,    c.in_width,     c.out_channels, c.out_height,
          c.out_width,    c.kernel_height, c.kernel_width, c.stride_height, c.stride_width, c.pad_top,
          c.pad_left,     c.dilation_height, c.dilation_width, c.groups,    c.pool_height, c.pool_width};
}

LinearShape linear_shape(const Matrix& weights, bool columns, std::int64_t rows) {
  require(rows >= 1, "rows: expected at least 1, found " + std::to_string(rows));
  const LinearShape shape{rows, columns ? weights.lines : weights.length, columns ? weights.length : weights.lines};
  elements({shape.rows, shape.in});
  elements({shape.rows, shape.out});
  return shape;
}

template <class Body>
secateur_status prefixed(const char* kind, Body body) noexcept {
  return guarded([&] {
    try {
      body();
    } catch (const std::invalid_argument& e) {
      throw std::invalid_argument(std::string(kind) + ": " + e.what());
    }
  });
}

}  // namespace

secateur_status secateur_convolution_applicable(const secateur_program* program, int kernel,
                                                const secateur_convolution_shape* shape, int* result) {
  return prefixed("convolution", [&] {
    const auto k = kind_of(kernel, ConvolutionKernel::winograd4_streamed, "kernel");
    *result = applicable(k, checked(*shape), program->program.isa()) ? 1 : 0;
  });
}

secateur_status secateur_convolution(secateur_program* program, int kernel, const secateur_convolution_shape* shape,
                                     const secateur_matrix* weights, secateur_ref source, secateur_ref output,
                                     secateur_ref bias, secateur_ref residual, secateur_activation act) {
  return prefixed("convolution", [&] {
    Program& p = program->program;
    const auto k = kind_of(kernel, ConvolutionKernel::winograd4_streamed, "kernel");
    const ConvolutionShape s = checked(*shape);
    const Matrix m = view(*weights);
    const std::int64_t length = s.in_channels / s.groups * s.kernel_height * s.kernel_width;
    require(m.lines == s.out_channels && m.length == length,
            "weights: expected " + text({s.out_channels, length}) + ", found " + text({m.lines, m.length}));
    const std::string name = std::string("convolution ") + CONVOLUTION_NAMES[kernel];
    require(applicable(k, s, p.isa()), name + " does not serve this shape");
    require(!s.pooled() || !ref(residual), "a residual cannot be added where the output is pooled");
    const LayerRefs refs{ref(source), ref(output), ref(bias), ref(residual), activation(act)};
    MakeLayer make = [k, isa = p.isa(), s, m, refs] {
      std::vector<std::unique_ptr<WeightedStep>> steps;
      steps.push_back(make_convolution(k, isa, s, m, refs.source, refs.output, refs.bias, refs.residual, refs.activation));
      return steps;
    };
    const std::int64_t outputs = s.images * s.out_channels * s.pooled_height() * s.pooled_width();
    std::vector<Use> reads{use(ref(source), s.images * s.in_channels * s.in_height * s.in_width)};
    if (ref(bias)) reads.push_back(use(ref(bias), s.out_channels));
    if (ref(residual)) reads.push_back(use(ref(residual), outputs));
    p.add_layer(std::move(make), m.entries, name, reads, {use(ref(output), outputs)});
  });
}

static_assert(std::size(CONVOLUTION_NAMES) == SECATEUR_CONVOLUTION_KERNELS);
static_assert(std::size(LINEAR_NAMES) == SECATEUR_LINEAR_KERNELS);

secateur_status secateur_linear_applicable(const secateur_program* program, int kernel, const secateur_matrix* weights,
                                           int columns, int64_t rows, int* result) {
  return prefixed("linear", [&] {
    const auto k = kind_of(kernel, LinearKernel::bitmask, "kernel");
    const Matrix m = view(*weights);
    *result = applicable(k, linear_shape(m, columns != 0, rows), m, columns != 0, program->program.isa()) ? 1 : 0;
  });
}

secateur_status secateur_linear_workspace(const secateur_program* program, int kernel, const secateur_matrix* weights,
                                          int columns, int64_t rows, int64_t* bytes) {
  return prefixed("linear", [&] {
    const auto k = kind_of(kernel, LinearKernel::bitmask, "kernel");
    const Matrix m = view(*weights);
    const LinearShape shape = linear_shape(m, columns != 0, rows);
    *bytes = static_cast<int64_t>(linear_workspace_bytes(k, shape, m, columns != 0, program->program.isa()));
  });
}

secateur_status secateur_linear(secateur_program* program, int kernel, const secateur_matrix* weights, int columns,
                                int64_t rows, secateur_ref source, secateur_ref output, secateur_ref bias,
                                secateur_ref residual, secateur_activation act, secateur_ref workspace) {
  return prefixed("linear", [&] {
    Program& p = program->program;
    const auto k = kind_of(kernel, LinearKernel::bitmask, "kernel");
    const Matrix m = view(*weights);
    const LinearShape s = linear_shape(m, columns != 0, rows);
    const std::string name = std::string("linear ") + LINEAR_NAMES[kernel];
    require(applicable(k, s, m, columns != 0, p.isa()), name + " does not serve this shape");
    const auto scratch = static_cast<std::int64_t>(linear_workspace_bytes(k, s, m, columns != 0, p.isa()));
    const LayerRefs refs{ref(source), ref(output), ref(bias), ref(residual), activation(act)};
    MakeLayer make = [k, isa = p.isa(), s, m, columns, refs, workspace = ref(workspace)] {
      return make_linear(k, isa, s, m, columns != 0, refs.source, refs.output, refs.bias, refs.residual, refs.activation,
                         workspace);
    };
    std::vector<Use> reads{use(ref(source), s.rows * s.in)};
    if (ref(bias)) reads.push_back(use(ref(bias), s.out));
    if (ref(residual)) reads.push_back(use(ref(residual), s.rows * s.out));
    std::vector<Use> writes{use(ref(output), s.rows * s.out)};
    if (scratch > 0) writes.push_back({ref(workspace), scratch});
    p.add_layer(std::move(make), m.entries, name, reads, writes);
  });
}
