#include "program.h"
#include "secateur/names.h"

namespace nb = nanobind;

namespace secateur::binding {
namespace {

secateur_ref c(Ref r) { return {std::get<0>(r), std::get<1>(r)}; }
secateur_activation c(Activation a) { return {std::get<0>(a), std::get<1>(a), std::get<2>(a)}; }
secateur_shape c(const Shape& s) { return {s.data(), static_cast<std::int64_t>(s.size())}; }

}  // namespace

void Program::convolution(const std::string& kernel, nb::object weights, Ref source, Ref output, Ref bias, Ref residual,
                          Activation activation, std::int64_t images, std::int64_t in_channels, std::int64_t in_height,
                          std::int64_t in_width, std::int64_t out_channels, std::int64_t out_height, std::int64_t out_width,
                          std::int64_t kernel_height, std::int64_t kernel_width, std::int64_t stride_height,
                          std::int64_t stride_width, std::int64_t pad_top, std::int64_t pad_left,
                          std::int64_t dilation_height, std::int64_t dilation_width, std::int64_t groups,
                          std::int64_t pool_height, std::int64_t pool_width) {
  const secateur_convolution_shape shape{images,        in_channels,   in_height,    in_width,       out_channels,
                                         out_height,    out_width,     kernel_height, kernel_width,   stride_height,
                                         stride_width,  pad_top,       pad_left,     dilation_height, dilation_width,
                                         groups,        pool_height,   pool_width};
  check(secateur_convolution(c_.get(), number_of(kernel, CONVOLUTION_NAMES, "kernel"), &shape,
                             nb::cast<const Matrix&>(weights).view(), c(source), c(output), c(bias), c(residual),
                             c(activation)));
  weights_.push_back(std::move(weights));
}

Names Program::convolution_kernels(std::int64_t images, std::int64_t in_channels, std::int64_t in_height,
                                   std::int64_t in_width, std::int64_t out_channels, std::int64_t out_height,
                                   std::int64_t out_width, std::int64_t kernel_height, std::int64_t kernel_width,
                                   std::int64_t stride_height, std::int64_t stride_width, std::int64_t pad_top,
                                   std::int64_t pad_left, std::int64_t dilation_height, std::int64_t dilation_width,
                                   std::int64_t groups, std::int64_t pool_height, std::int64_t pool_width) const {
  const secateur_convolution_shape shape{images,        in_channels,   in_height,    in_width,       out_channels,
                                         out_height,    out_width,     kernel_height, kernel_width,   stride_height,
                                         stride_width,  pad_top,       pad_left,     dilation_height, dilation_width,
                                         groups,        pool_height,   pool_width};
  Names names;
  for (int i = 0; i < SECATEUR_CONVOLUTION_KERNELS; ++i) {
    int applicable = 0;
    check(secateur_convolution_applicable(c_.get(), i, &shape, &applicable));
    if (applicable != 0) names.emplace_back(CONVOLUTION_NAMES[i]);
  }
  return names;
}

void Program::linear(const std::string& kernel, nb::object weights, bool columns, Ref source, Ref output, Ref bias,
                     Ref residual, Activation activation, Ref workspace, std::int64_t rows) {
  check(secateur_linear(c_.get(), number_of(kernel, LINEAR_NAMES, "kernel"), nb::cast<const Matrix&>(weights).view(),
                        columns ? 1 : 0, rows, c(source), c(output), c(bias), c(residual), c(activation), c(workspace)));
  weights_.push_back(std::move(weights));
}

Names Program::linear_kernels(const Matrix& weights, bool columns, std::int64_t rows) const {
  Names names;
  for (int i = 0; i < SECATEUR_LINEAR_KERNELS; ++i) {
    int applicable = 0;
    check(secateur_linear_applicable(c_.get(), i, weights.view(), columns ? 1 : 0, rows, &applicable));
    if (applicable != 0) names.emplace_back(LINEAR_NAMES[i]);
  }
  return names;
}

std::int64_t Program::linear_workspace(const std::string& kernel, const Matrix& weights, bool columns,
                                       std::int64_t rows) const {
  std::int64_t bytes = 0;
  check(secateur_linear_workspace(c_.get(), number_of(kernel, LINEAR_NAMES, "kernel"), weights.view(), columns ? 1 : 0,
                                  rows, &bytes));
  return bytes;
}

void Program::elementwise(Ref source, Ref output, std::int64_t count, Activation activation) {
  check(secateur_elementwise(c_.get(), c(source), c(output), count, c(activation)));
}

void Program::binary(const std::string& kind, Ref left, Ref right, Ref output, const Shape& left_shape,
                     const Shape& right_shape, const Shape& output_shape, Activation activation) {
  check(secateur_binary(c_.get(), number_of(kind, BINARY_NAMES, "kind"), c(left), c(right), c(output), c(left_shape),
                        c(right_shape), c(output_shape), c(activation)));
}

void Program::pool(const std::string& kind, Ref source, Ref output, std::int64_t images, std::int64_t channels,
                   std::int64_t in_h, std::int64_t in_w, std::int64_t out_h, std::int64_t out_w, Pair kernel, Pair strides,
                   Pair pads, Pair dilations, bool count_padding, Pair pads_end) {
  const secateur_pool_shape shape{images,
                                  channels,
                                  in_h,
                                  in_w,
                                  out_h,
                                  out_w,
                                  std::get<0>(kernel),
                                  std::get<1>(kernel),
                                  std::get<0>(strides),
                                  std::get<1>(strides),
                                  std::get<0>(pads),
                                  std::get<1>(pads),
                                  std::get<0>(pads_end),
                                  std::get<1>(pads_end),
                                  std::get<0>(dilations),
                                  std::get<1>(dilations)};
  check(secateur_pool(c_.get(), number_of(kind, POOL_NAMES, "kind"), c(source), c(output), &shape, count_padding ? 1 : 0));
}

void Program::log_softmax(Ref source, Ref output, std::int64_t outer, std::int64_t size, std::int64_t inner) {
  check(secateur_log_softmax(c_.get(), c(source), c(output), outer, size, inner));
}

void Program::softmax(Ref source, Ref output, std::int64_t outer, std::int64_t size, std::int64_t inner) {
  check(secateur_softmax(c_.get(), c(source), c(output), outer, size, inner));
}

void Program::layer_norm(Ref source, Ref output, Ref scale, Ref bias, std::int64_t outer, std::int64_t size,
                         float epsilon) {
  check(secateur_layer_norm(c_.get(), c(source), c(output), c(scale), c(bias), outer, size, epsilon));
}

void Program::local_response_norm(Ref source, Ref output, std::int64_t images, std::int64_t channels, std::int64_t plane,
                                  std::int64_t size, float alpha, float beta, float k) {
  check(secateur_local_response_norm(c_.get(), c(source), c(output), images, channels, plane, size, alpha, beta, k));
}

void Program::concat(const std::vector<Ref>& sources, const Shape& sizes, Ref output, std::int64_t outer) {
  if (sources.size() != sizes.size()) {
    const std::string message = "concat: expected a size for each of " + std::to_string(sources.size()) +
                                " sources, found " + std::to_string(sizes.size());
    throw nb::value_error(message.c_str());
  }
  std::vector<secateur_ref> refs;
  for (const Ref& source : sources) refs.push_back(c(source));
  check(secateur_concat(c_.get(), refs.data(), sizes.data(), static_cast<std::int64_t>(refs.size()), c(output), outer));
}

void Program::slice(Ref source, Ref output, const Shape& shape_in, const Shape& starts, const Shape& steps,
                    const Shape& shape_out) {
  check(secateur_slice(c_.get(), c(source), c(output), c(shape_in), c(starts), c(steps), c(shape_out)));
}

void Program::pad(Ref source, Ref output, const Shape& shape_in, const Shape& before, const Shape& shape_out,
                  const std::string& mode, float value) {
  check(secateur_pad(c_.get(), c(source), c(output), c(shape_in), c(before), c(shape_out),
                     number_of(mode, PAD_NAMES, "mode"), value));
}

void Program::transpose(Ref source, Ref output, const Shape& shape_in, const Shape& permutation) {
  check(secateur_transpose(c_.get(), c(source), c(output), c(shape_in), c(permutation)));
}

void Program::reduce(const std::string& kind, Ref source, Ref output, const Shape& shape_in, const Shape& axes) {
  check(secateur_reduce(c_.get(), number_of(kind, REDUCE_NAMES, "kind"), c(source), c(output), c(shape_in), c(axes)));
}

void Program::expand(Ref source, Ref output, const Shape& shape_in, const Shape& shape_out) {
  check(secateur_expand(c_.get(), c(source), c(output), c(shape_in), c(shape_out)));
}

void Program::gather(Ref source, Ref indices, Ref output, std::int64_t outer, std::int64_t size, std::int64_t inner,
                     std::int64_t count) {
  check(secateur_gather(c_.get(), c(source), c(indices), c(output), outer, size, inner, count));
}

void Program::matmul(Ref left, Ref right, Ref output, const Shape& left_shape, const Shape& right_shape,
                     const Shape& output_shape) {
  check(secateur_matmul(c_.get(), c(left), c(right), c(output), c(left_shape), c(right_shape), c(output_shape)));
}

void Program::copy(Ref source, Ref output, std::int64_t count) {
  check(secateur_copy(c_.get(), c(source), c(output), count));
}

}  // namespace secateur::binding
