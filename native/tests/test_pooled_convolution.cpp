// Convolutions that pool on the way out, against a convolution and a pool.
#include <cstring>
#include <string>
#include <vector>

#include "secateur/steps.h"
#include "secateur/weighted.h"
#include "weighted_check.h"

namespace secateur::testing {
namespace {

long cases = 0;

std::vector<float> computed(const Step& step, const Memory& memory, Guarded& output, std::int64_t pieces,
                            const std::string& what) {
  run_step(step, memory, pieces, pieces == 3);
  expect(output.intact(), what + ": wrote outside");
  return {output.data(), output.data() + output.size()};
}

// A convolution that pools gives what the two steps give, to the bit.
void check(ConvolutionKernel kernel, const ConvolutionShape& s, Isa isa, const Matrix& weights,
                  const std::vector<float>& x, const std::vector<float>& bias, Activation activation,
                  const std::string& what) {
  ConvolutionShape alone = s;
  alone.pool_height = alone.pool_width = 1;
  PoolShape windows;
  windows.images = s.images;
  windows.channels = s.out_channels;
  windows.in_height = s.out_height;
  windows.in_width = s.out_width;
  windows.out_height = s.pooled_height();
  windows.out_width = s.pooled_width();
  windows.kernel_height = windows.stride_height = s.pool_height;
  windows.kernel_width = windows.stride_width = s.pool_width;
  const Ref source{Space::input, 0}, output{Space::output, 0};
  const Ref bias_ref = bias.empty() ? Ref{} : Ref{Space::constant, 0};
  const auto convolution = make_convolution(kernel, isa, alone, weights, source, output, bias_ref, {}, activation);
  const auto pool = make_pool(isa, PoolKind::max, source, output, windows, false);
  const auto fused = make_convolution(kernel, isa, s, weights, source, output, bias_ref, {}, activation);
  const auto planes = static_cast<std::size_t>(s.images * s.out_channels);
  Guarded whole(planes * static_cast<std::size_t>(s.out_height * s.out_width));
  const void* constants[] = {bias.data()};
  const void* inputs[] = {x.data()};
  void* middle[] = {whole.data()};
  computed(*convolution, Memory{nullptr, inputs, middle, constants}, whole, 1, what);
  const std::size_t count = planes * static_cast<std::size_t>(s.pooled_height() * s.pooled_width());
  Guarded separate(count);
  const void* between[] = {whole.data()};
  void* pooled[] = {separate.data()};
  const std::vector<float> want = computed(*pool, Memory{nullptr, between, pooled, nullptr}, separate, 1, what);
  for (const std::int64_t pieces : {std::int64_t{1}, std::int64_t{3}, std::int64_t{1000}}) {
    Guarded maxima(count);
    void* outputs[] = {maxima.data()};
    const std::vector<float> got = computed(*fused, Memory{nullptr, inputs, outputs, constants}, maxima, pieces, what);
    expect(std::memcmp(got.data(), want.data(), count * sizeof(float)) == 0, what + ": not what two steps give");
  }
  ++cases;
}

struct Case {
  const char* what;
  std::int64_t in, height, width, out, kernel_height, kernel_width, stride, pad, groups, pool_height, pool_width;
};

constexpr Case CASES[] = {
    // what, in, h, w, out, kh, kw, stride, pad, groups, ph, pw
    {"LeNet conv1", 1, 28, 28, 20, 5, 5, 1, 0, 1, 2, 2},
    {"LeNet conv2", 20, 12, 12, 50, 5, 5, 1, 0, 1, 2, 2},
    {"odd rows and columns", 5, 15, 13, 7, 3, 3, 1, 1, 1, 2, 2},
    {"odd columns", 4, 12, 27, 6, 3, 3, 1, 1, 1, 2, 2},
    {"windows of 3", 3, 17, 19, 5, 3, 3, 1, 1, 1, 3, 3},
    {"windows of 3 x 2", 3, 13, 11, 9, 3, 3, 1, 0, 1, 3, 2},
    {"stride 2 and groups", 8, 23, 21, 6, 3, 3, 2, 1, 2, 2, 2},
    {"one window", 6, 3, 3, 4, 3, 3, 1, 1, 1, 2, 2},
    {"1-D", 3, 1, 61, 5, 1, 5, 1, 0, 1, 1, 2},
    {"several bands", 3, 45, 50, 5, 3, 3, 1, 1, 1, 2, 2},
    {"stride 4", 3, 47, 51, 5, 11, 11, 4, 2, 1, 2, 2},
    {"1x1 kernel", 9, 14, 14, 12, 1, 1, 1, 0, 1, 2, 2},
};

ConvolutionShape shape_of(const Case& c, std::int64_t images) {
  ConvolutionShape s;
  s.images = images;
  s.in_channels = c.in;
  s.in_height = c.height;
  s.in_width = c.width;
  s.out_channels = c.out;
  s.kernel_height = c.kernel_height;
  s.kernel_width = c.kernel_width;
  s.stride_height = s.stride_width = c.stride;
  s.pad_top = c.kernel_height > 1 ? c.pad : 0;
  s.pad_left = c.pad;
  s.groups = c.groups;
  s.out_height = (c.height + 2 * s.pad_top - c.kernel_height) / c.stride + 1;
  s.out_width = (c.width + 2 * s.pad_left - c.kernel_width) / c.stride + 1;
  s.pool_height = c.pool_height;
  s.pool_width = c.pool_width;
  return s;
}

void check_all(const Case& c, std::int64_t images, std::mt19937& random) {
  const ConvolutionShape s = shape_of(c, images);
  const std::int64_t length = s.in_channels / s.groups * s.kernel_height * s.kernel_width;
  const OwnedMatrix weights =
      make_matrix(random_floats(random, static_cast<std::size_t>(s.out_channels * length), 0.3, false), s.out_channels,
                  length, LayoutKind::bitmask, ValueType::float32);
  const std::vector<float> x = random_floats(
      random, static_cast<std::size_t>(s.images * s.in_channels * s.in_height * s.in_width), 0.9, false);
  const std::vector<float> bias = random_floats(random, static_cast<std::size_t>(s.out_channels), 1.0, false);
  for (const Isa isa : isas()) {
    for (const ConvolutionKernel kernel : CONVOLUTION_KERNELS) {
      const std::string what = std::string("pooled ") + c.what + " x" + std::to_string(images) + " " +
                               CONVOLUTION_NAMES[static_cast<int>(kernel)] + " " + name(isa);
      const ConvolutionKernel whole = whole_width(kernel);
      ConvolutionShape alone = s;
      alone.pool_height = alone.pool_width = 1;
      // Winograd's tiles hold whole windows of 2x2.
      const bool pools = whole < ConvolutionKernel::depthwise ||
                         (whole != ConvolutionKernel::depthwise && s.pool_height == 2 && s.pool_width == 2);
      expect(applicable(kernel, s, isa) == (pools && applicable(kernel, alone, isa)), what + ": applicable?");
      if (!applicable(kernel, s, isa)) continue;
      check(kernel, s, isa, weights.view, x, bias, {ActivationKind::relu, 0, 0}, what + " relu");
      if (images > 9) continue;
      check(kernel, s, isa, weights.view, x, {}, {ActivationKind::none, 0, 0}, what + " none");
      check(kernel, s, isa, weights.view, x, bias, {ActivationKind::clip, -0.5f, 0.5f}, what + " clip");
      // Neither rises nor falls everywhere: the largest sum need not be the largest result.
      check(kernel, s, isa, weights.view, x, bias, {ActivationKind::swish, 0, 0}, what + " swish");
    }
  }
}

}  // namespace
}  // namespace secateur::testing

int main() {
  using namespace secateur::testing;
  std::mt19937 random(4);
  for (const Case& c : CASES) {
    for (const std::int64_t images : {1, 3, 8, 9}) check_all(c, images, random);
  }
  for (const Case& c : {CASES[0], CASES[2]}) check_all(c, 64, random);
  return report(cases);
}
