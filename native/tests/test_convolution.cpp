// Every convolution kernel on every instruction set against a reference in double precision.
#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "secateur/weighted.h"
#include "weighted_check.h"
#include "winograd_magnitudes.h"

namespace secateur::testing {
namespace {

struct Case {
  const char* what;
  std::int64_t images, in, height, width, out, kernel_height, kernel_width;
  std::int64_t stride_height, stride_width, pad_top, pad_left, pad_bottom, pad_right;
  std::int64_t dilation_height, dilation_width, groups;
};

ConvolutionShape shape_of(const Case& c) {
  ConvolutionShape s;
  s.images = c.images;
  s.in_channels = c.in;
  s.in_height = c.height;
  s.in_width = c.width;
  s.out_channels = c.out;
  s.kernel_height = c.kernel_height;
  s.kernel_width = c.kernel_width;
  s.stride_height = c.stride_height;
  s.stride_width = c.stride_width;
  s.pad_top = c.pad_top;
  s.pad_left = c.pad_left;
  s.dilation_height = c.dilation_height;
  s.dilation_width = c.dilation_width;
  s.groups = c.groups;
  s.out_height =
      (c.height + c.pad_top + c.pad_bottom - (c.kernel_height - 1) * c.dilation_height - 1) / c.stride_height + 1;
  s.out_width = (c.width + c.pad_left + c.pad_right - (c.kernel_width - 1) * c.dilation_width - 1) / c.stride_width + 1;
  return s;
}

struct Reference {
  std::vector<double> exact, magnitude, terms;
};

Reference convolve(const ConvolutionShape& s, const std::vector<float>& x, const std::vector<float>& w,
                   const std::vector<float>& bias, const std::vector<float>& residual) {
  Reference r;
  const std::int64_t group_in = s.in_channels / s.groups;
  const std::int64_t group_out = s.out_channels / s.groups;
  for (std::int64_t n = 0; n < s.images; ++n) {
    for (std::int64_t o = 0; o < s.out_channels; ++o) {
      for (std::int64_t i = 0; i < s.out_height; ++i) {
        for (std::int64_t j = 0; j < s.out_width; ++j) {
          double sum = 0, magnitude = 0, terms = 0;
          for (std::int64_t c = 0; c < group_in; ++c) {
            for (std::int64_t a = 0; a < s.kernel_height; ++a) {
              const std::int64_t y = i * s.stride_height - s.pad_top + a * s.dilation_height;
              if (y < 0 || y >= s.in_height) continue;
              for (std::int64_t b = 0; b < s.kernel_width; ++b) {
                const std::int64_t z = j * s.stride_width - s.pad_left + b * s.dilation_width;
                if (z < 0 || z >= s.in_width) continue;
                const double weight =
                    w[static_cast<std::size_t>(((o * group_in + c) * s.kernel_height + a) * s.kernel_width + b)];
                if (weight == 0) continue;
                const std::int64_t channel = o / group_out * group_in + c;
                const double product =
                    weight *
                    x[static_cast<std::size_t>(((n * s.in_channels + channel) * s.in_height + y) * s.in_width + z)];
                sum += product;
                magnitude += std::fabs(product);
                terms += 1;
              }
            }
          }
          const double extra = bias.empty() ? 0 : bias[static_cast<std::size_t>(o)];
          const double more = residual.empty() ? 0 : residual[r.exact.size()];
          r.exact.push_back(sum + extra + more);
          r.magnitude.push_back(magnitude + std::fabs(extra) + std::fabs(more));
          r.terms.push_back(terms);
        }
      }
    }
  }
  return r;
}

// Of a row or a column, what windows read.
std::vector<bool> those_read(std::int64_t in, std::int64_t pad, std::int64_t out, std::int64_t stride, std::int64_t taps,
                             std::int64_t dilation) {
  std::vector<bool> read(static_cast<std::size_t>(in));
  for (std::int64_t window = 0; window < out; ++window) {
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      const std::int64_t at = window * stride - pad + tap * dilation;
      if (at >= 0 && at < in) read[static_cast<std::size_t>(at)] = true;
    }
  }
  return read;
}

// What no window reads must not matter, whatever it is.
void spoil_unread(const ConvolutionShape& s, std::vector<float>& x) {
  const std::vector<bool> rows =
      those_read(s.in_height, s.pad_top, s.out_height, s.stride_height, s.kernel_height, s.dilation_height);
  const std::vector<bool> columns =
      those_read(s.in_width, s.pad_left, s.out_width, s.stride_width, s.kernel_width, s.dilation_width);
  const auto width = static_cast<std::size_t>(s.in_width);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!rows[i / width % rows.size()] || !columns[i % width]) x[i] = std::numeric_limits<float>::quiet_NaN();
  }
}

double activated(double x, Activation a) {
  switch (a.kind) {
    case ActivationKind::relu: return x > 0 ? x : 0;
    case ActivationKind::leaky_relu: return x < 0 ? a.alpha * x : x;
    case ActivationKind::clip: return x < a.alpha ? a.alpha : x > a.beta ? a.beta : x;
    default: return x;
  }
}

// Filters that Winograd's transforms take as 5x5.
bool wide_filters(const ConvolutionShape& s) { return s.kernel_height > 3 * s.stride_height; }

long cases = 0;

struct Setting {
  LayoutKind layout;
  ValueType type;
  double density;
  bool integers, bias, residual, in_place;
  Activation activation;
};

void check(const Case& c, const Setting& t, ConvolutionKernel kernel, Isa isa, const OwnedMatrix& weights,
           const std::vector<float>& x, const std::vector<float>& bias, const std::vector<float>& residual,
           const Reference& want) {
  const ConvolutionShape s = shape_of(c);
  const std::string what = std::string(c.what) + " x" + std::to_string(s.images) + " " +
                           CONVOLUTION_NAMES[static_cast<int>(kernel)] + " " + name(isa) + (t.integers ? " integers" : " random") +
                           " layout " + std::to_string(static_cast<int>(t.layout)) + " type " +
                           std::to_string(static_cast<int>(t.type));
  const Ref source{Space::input, 0}, output{Space::output, 0};
  const Ref bias_ref = t.bias ? Ref{Space::constant, 0} : Ref{};
  const Ref residual_ref = !t.residual ? Ref{} : t.in_place ? output : Ref{Space::input, 1};
  const auto step =
      make_convolution(kernel, isa, s, weights.view, source, output, bias_ref, residual_ref, t.activation);
  expect(step != nullptr && step->items() >= 1, what + ": no step");
  if (step == nullptr) return;

  const ConvolutionKernel whole = whole_width(kernel);
  const bool large = whole == ConvolutionKernel::winograd4 || whole == ConvolutionKernel::winograd4_streamed;
  const bool tiled = whole == ConvolutionKernel::winograd || large;
  const bool wide = wide_filters(s);
  const Unstrided plain = tiled && !t.integers ? unstrided(s, x, weights.dense) : Unstrided{};
  const Transforms& transforms = large ? (wide ? LARGE_TILES_OF_WIDE_FILTERS : LARGE_TILES)
                                       : (wide ? WIDE_FILTERS : SMALL_TILES);
  const std::vector<double> tiles =
      tiled && !t.integers ? winograd_magnitudes(transforms, plain.shape, plain.x, plain.w) : std::vector<double>{};
  std::vector<float> first;
  for (const std::int64_t pieces : {std::int64_t{1}, std::int64_t{3}, std::int64_t{1000}}) {
    if (pieces > 1 && step->items() == 1) break;
    Guarded in(x.size()), y(want.exact.size());
    std::copy(x.begin(), x.end(), in.data());
    if (t.in_place) std::copy(residual.begin(), residual.end(), y.data());
    const void* inputs[] = {in.data(), residual.data()};
    void* outputs[] = {y.data()};
    const void* constants[] = {bias.data()};
    run_step(*step, Memory{nullptr, inputs, outputs, constants}, pieces, pieces == 3);
    expect(in.intact() && y.intact(), what + ": wrote outside");
    const std::vector<float> got(y.data(), y.data() + y.size());
    if (pieces > 1) {
      expect(std::memcmp(got.data(), first.data(), got.size() * sizeof(float)) == 0, what + ": depends on the split");
      continue;
    }
    first = got;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double exact = activated(want.exact[i], t.activation);
      const bool good =
          t.integers ? static_cast<double>(got[i]) == exact
          : tiled ? within_bound(got[i], exact, want.magnitude[i] + tiles[i],
                                   static_cast<double>(plain.shape.in_channels) + transforms.roundings)
                  : within_bound(got[i], exact, want.magnitude[i], want.terms[i]);
      if (!good) {
        expect(false, what + " at " + std::to_string(i) + ": " + std::to_string(got[i]) + ", expected " +
                          std::to_string(exact));
        break;
      }
    }
  }
  ++cases;
}

constexpr int MOST = 3;

// The integers on which a kernel is exact. Forty-fifths of 5x5 filters, squared, leave few digits for whole numbers.
int exact_up_to(ConvolutionKernel kernel, const ConvolutionShape& s) {
  return whole_width(kernel) == ConvolutionKernel::winograd4 && wide_filters(s) ? 1 : MOST;
}

// `most`: of integers; the kernels are checked that are exact up to it, and no further.
void check_all(const Case& c, const Setting& t, int most, std::mt19937& random) {
  const ConvolutionShape s = shape_of(c);
  const std::int64_t length = s.in_channels / s.groups * s.kernel_height * s.kernel_width;
  std::vector<float> dense =
      random_floats(random, static_cast<std::size_t>(s.out_channels * length), t.density, t.integers, most);
  // An empty row and a full one.
  for (std::int64_t i = 0; i < length; ++i) {
    if (s.out_channels > 1) dense[static_cast<std::size_t>(i)] = 0.0f;
    if (s.out_channels > 2 && t.density > 0) dense[static_cast<std::size_t>(length + i)] = 1.0f;
  }
  const OwnedMatrix weights = make_matrix(dense, s.out_channels, length, t.layout, t.type);
  std::vector<float> x = random_floats(
      random, static_cast<std::size_t>(s.images * s.in_channels * s.in_height * s.in_width), 1.0, t.integers, most);
  spoil_unread(s, x);
  const std::vector<float> bias = random_floats(random, static_cast<std::size_t>(s.out_channels), 1.0, t.integers);
  const std::vector<float> residual = random_floats(
      random, static_cast<std::size_t>(s.images * s.out_channels * s.out_height * s.out_width), 1.0, t.integers);
  const Reference want =
      convolve(s, x, weights.dense, t.bias ? bias : std::vector<float>{}, t.residual ? residual : std::vector<float>{});
  for (const Isa isa : isas()) {
    for (const ConvolutionKernel kernel : CONVOLUTION_KERNELS) {
      if (t.integers && exact_up_to(kernel, s) != most) continue;
      if (applicable(kernel, s, isa)) check(c, t, kernel, isa, weights, x, bias, residual, want);
    }
  }
}

constexpr Case CASES[] = {
    // what, images, in, h, w, out, kh, kw, sh, sw, top, left, bottom, right, dh, dw, groups
    {"1x1 on 1x1", 1, 5, 1, 1, 7, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1},
    {"1x1 on 14x14", 1, 19, 14, 14, 13, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1},
    {"1x1 stride 2", 2, 6, 9, 8, 4, 1, 1, 2, 2, 0, 0, 0, 0, 1, 1, 1},
    {"1x1 many channels", 1, 700, 3, 3, 9, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1},
    {"3x3 on 1x1", 1, 3, 1, 1, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 on 7x7", 7, 4, 7, 7, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 on 13x13", 1, 33, 13, 13, 7, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 on 14x14", 1, 40, 14, 14, 17, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 on 15x16 valid", 2, 3, 15, 16, 4, 3, 3, 1, 1, 0, 0, 0, 0, 1, 1, 1},
    {"3x3 on 27x27", 1, 4, 27, 27, 6, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 on 28x30", 1, 2, 28, 30, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 in several bands", 1, 3, 62, 71, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 of several images in several bands", 3, 2, 37, 33, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 stride 2", 1, 5, 15, 13, 6, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1},
    {"3x3 stride 3x1", 1, 3, 14, 9, 4, 3, 3, 3, 1, 1, 0, 0, 1, 1, 1, 1},
    {"3x3 asymmetric pads", 3, 3, 8, 9, 4, 3, 3, 1, 1, 2, 0, 1, 2, 1, 1, 1},
    {"3x3 dilation 2", 1, 4, 12, 11, 5, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2, 1},
    {"3x2 dilation 3x2 stride 2", 1, 2, 17, 16, 3, 3, 2, 2, 2, 3, 1, 3, 1, 3, 2, 1},
    {"5x5 LeNet conv1", 1, 1, 28, 28, 20, 5, 5, 1, 1, 0, 0, 0, 0, 1, 1, 1},
    {"5x5 LeNet conv2", 9, 20, 12, 12, 10, 5, 5, 1, 1, 0, 0, 0, 0, 1, 1, 1},
    {"5x5 groups 2", 1, 8, 13, 13, 6, 5, 5, 1, 1, 2, 2, 2, 2, 1, 1, 2},
    {"5x5 on 27x27", 2, 5, 27, 27, 9, 5, 5, 1, 1, 2, 2, 2, 2, 1, 1, 1},
    {"5x5 in several bands", 1, 3, 61, 70, 5, 5, 5, 1, 1, 2, 2, 2, 2, 1, 1, 1},
    {"5x5 asymmetric pads", 3, 3, 9, 11, 4, 5, 5, 1, 1, 3, 0, 1, 4, 1, 1, 1},
    {"5x5 of many channels", 1, 70, 14, 13, 30, 5, 5, 1, 1, 2, 2, 2, 2, 1, 1, 1},
    {"7x7 stride 2", 1, 3, 30, 30, 4, 7, 7, 2, 2, 3, 3, 3, 3, 1, 1, 1},
    {"11x11 stride 4", 1, 3, 51, 51, 5, 11, 11, 4, 4, 2, 2, 2, 2, 1, 1, 1},
    {"11x11 stride 4, all read", 1, 3, 115, 115, 9, 11, 11, 4, 4, 0, 0, 0, 0, 1, 1, 1},
    {"11x11 stride 4, asymmetric pads", 3, 2, 30, 41, 3, 11, 11, 4, 4, 5, 1, 0, 3, 1, 1, 1},
    {"7x7 stride 2 in several bands", 1, 3, 113, 130, 5, 7, 7, 2, 2, 3, 3, 3, 3, 1, 1, 1},
    {"5x5 stride 2 in groups", 3, 6, 23, 18, 4, 5, 5, 2, 2, 2, 2, 2, 2, 1, 1, 2},
    {"7x7 stride 2, not all read", 1, 3, 42, 40, 5, 7, 7, 2, 2, 0, 0, 0, 0, 1, 1, 1},
    {"11x11 stride 4 in several bands, not all read", 2, 2, 122, 126, 6, 11, 11, 4, 4, 1, 0, 0, 1, 1, 1, 1},
    {"6x6 stride 2, wide", 2, 2, 12, 701, 2, 6, 6, 2, 2, 1, 2, 2, 1, 1, 1, 1},
    {"6x6 stride 2 on one output", 2, 3, 6, 7, 2, 6, 6, 2, 2, 0, 0, 0, 0, 1, 1, 1},
    {"9x9 stride 3", 2, 2, 40, 37, 3, 9, 9, 3, 3, 4, 4, 4, 4, 1, 1, 1},
    {"9x9 stride 2, pads beyond the image", 1, 2, 2, 3, 2, 9, 9, 2, 2, 9, 8, 8, 9, 1, 1, 1},
    {"17x17 kernel", 1, 2, 18, 18, 3, 17, 17, 1, 1, 3, 3, 3, 3, 1, 1, 1},
    {"1-D", 2, 6, 1, 50, 7, 1, 5, 1, 1, 0, 2, 0, 2, 1, 1, 1},
    // Taps so far apart that no row of a band is one of the band above.
    {"2x2 dilation 9", 1, 8, 80, 80, 12, 2, 2, 1, 1, 0, 0, 0, 0, 9, 9, 1},
    {"3x3 dilation 9 stride 2", 1, 4, 120, 60, 6, 3, 3, 2, 1, 4, 4, 4, 4, 9, 9, 1},
    {"5x5 in groups, several bands", 2, 8, 56, 56, 12, 5, 5, 1, 1, 2, 2, 2, 2, 1, 1, 2},
    {"1-D stride 2 dilation 2", 1, 4, 1, 37, 5, 1, 3, 1, 2, 0, 2, 0, 2, 1, 2, 1},
    {"1-D and long", 1, 12, 1, 70000, 2, 1, 3, 1, 1, 0, 1, 0, 1, 1, 1, 1},
    {"tall", 1, 3, 40, 1, 4, 3, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1},
    {"groups 3", 2, 9, 6, 6, 12, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3},
    {"depthwise 3x3", 1, 10, 14, 14, 10, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 10},
    {"depthwise 3x3 stride 2", 3, 5, 13, 15, 5, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 5},
    {"depthwise 5x5 dilated", 1, 4, 20, 21, 4, 5, 5, 1, 1, 4, 4, 4, 4, 2, 2, 4},
    {"depthwise multiplier", 1, 4, 9, 11, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 4},
    {"pads beyond the kernel", 1, 2, 3, 3, 2, 2, 2, 1, 1, 4, 4, 4, 4, 1, 1, 1},
    {"batch 8", 8, 6, 13, 13, 7, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"batch 9", 9, 5, 7, 7, 7, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1},
    {"batch 17 on 1x1", 17, 12, 1, 1, 9, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1},
    {"batch 17", 17, 3, 6, 5, 4, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {"more than an item", 1, 64, 28, 28, 96, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
};

constexpr Setting SETTINGS[] = {
    {LayoutKind::bitmask, ValueType::float32, 0.3, true, true, true, false, {ActivationKind::relu, 0, 0}},
    {LayoutKind::gap8, ValueType::float32, 0.05, false, true, false, false, {ActivationKind::none, 0, 0}},
    {LayoutKind::index16, ValueType::float16, 0.4, true, false, true, true, {ActivationKind::none, 0, 0}},
    {LayoutKind::dense, ValueType::bfloat16, 1.0, false, true, true, true, {ActivationKind::leaky_relu, 0.125f, 0}},
    {LayoutKind::dense, ValueType::float32, 0.9, true, true, false, false, {ActivationKind::clip, -4, 9}},
    {LayoutKind::bitmask, ValueType::float16, 0.6, false, false, false, false, {ActivationKind::none, 0, 0}},
    {LayoutKind::gap8, ValueType::bfloat16, 0.0, true, true, false, false, {ActivationKind::none, 0, 0}},
};

}  // namespace
}  // namespace secateur::testing

int main() {
  using namespace secateur::testing;
  std::mt19937 random(3);
  for (const Case& c : CASES) {
    for (const Setting& t : SETTINGS) {
      check_all(c, t, MOST, random);
      if (t.integers && wide_filters(shape_of(c))) check_all(c, t, 1, random);
    }
  }
  return report(cases);
}
