// Pooling, normalisation, reductions and products on every instruction set: bit for bit on small integers, within
// bounds on random numbers, between canaries and from misaligned memory.
#include "step_check.h"

namespace secateur::testing {
namespace {

long cases = 0;

template <class Make>
void check_exact(const std::string& what, const std::vector<std::vector<float>>& inputs, const std::vector<float>& expected,
                 Make make) {
  for (const Isa isa : isas()) {
    const std::string title = what + " " + name(isa);
    expect_same(output_of(*make(isa), inputs, expected.size(), title), expected, title);
    ++cases;
  }
}

std::vector<float> pooled(PoolKind kind, const std::vector<float>& x, const PoolShape& s, bool count_padding) {
  std::vector<float> y;
  for (std::int64_t plane = 0; plane < s.images * s.channels; ++plane) {
    for (std::int64_t i = 0; i < s.out_height; ++i) {
      for (std::int64_t j = 0; j < s.out_width; ++j) {
        float most = -INFINITY;
        float total = 0;
        float count = 0;
        for (std::int64_t a = 0; a < s.kernel_height; ++a) {
          for (std::int64_t b = 0; b < s.kernel_width; ++b) {
            const std::int64_t row = i * s.stride_height - s.pad_top + a * s.dilation_height;
            const std::int64_t column = j * s.stride_width - s.pad_left + b * s.dilation_width;
            const bool inside = 0 <= row && row < s.in_height && 0 <= column && column < s.in_width;
            const bool padding = row < s.in_height + s.pad_bottom && column < s.in_width + s.pad_right;
            if (inside || (count_padding && padding)) count += 1;
            if (!inside) continue;
            const float value = x[static_cast<std::size_t>((plane * s.in_height + row) * s.in_width + column)];
            most = std::max(most, value);
            total += value;
          }
        }
        y.push_back(kind == PoolKind::max ? most : total / count);
      }
    }
  }
  return y;
}

void check_pools() {
  // images, channels, in, out, kernel, strides, pads before, pads after, dilations
  const PoolShape shapes[] = {
      {1, 2, 6, 40, 3, 20, 2, 2, 2, 2, 0, 0, 0, 0, 1, 1},  {2, 3, 13, 55, 6, 27, 3, 3, 2, 2, 0, 0, 0, 0, 1, 1},
      {1, 2, 9, 35, 9, 35, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},  {1, 1, 7, 38, 4, 19, 3, 3, 2, 2, 1, 1, 0, 0, 1, 1},
      {1, 2, 11, 50, 4, 16, 2, 3, 3, 3, 1, 0, 0, 1, 1, 1}, {1, 1, 12, 40, 4, 18, 3, 3, 2, 2, 0, 0, 0, 0, 2, 2},
      {2, 3, 8, 8, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0, 1, 1},    {2, 64, 16, 24, 8, 12, 2, 2, 2, 2, 0, 0, 0, 0, 1, 1},
      {3, 4, 9, 12, 3, 4, 2, 3, 3, 3, 0, 0, 0, 0, 1, 1},   {2, 3, 9, 8, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0, 1, 1},
      {1, 2, 20, 300, 10, 75, 2, 2, 2, 4, 0, 0, 0, 0, 1, 2}, {1, 2, 3, 4, 4, 5, 2, 2, 1, 1, 1, 1, 2, 2, 2, 1},
      {3, 5, 7, 7, 1, 1, 7, 7, 1, 1, 0, 0, 0, 0, 1, 1},    {1, 16, 40, 60, 40, 60, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},
  };
  for (const PoolShape& s : shapes) {
    const auto x = small_integers(static_cast<std::size_t>(s.images * s.channels * s.in_height * s.in_width));
    for (const bool count : {false, true}) {
      for (const PoolKind kind : {PoolKind::max, PoolKind::average}) {
        check_exact("pool", {x}, pooled(kind, x, s, count),
                    [&](Isa isa) { return make_pool(isa, kind, SOURCE, OUTPUT, s, count); });
      }
    }
  }
}

void check_reductions() {
  for (const auto& [a, b, c] : {std::tuple{3, 70, 5}, std::tuple{1, 9, 1500}, std::tuple{40, 300, 33}}) {
    const Shape shape{a, b, c};
    const auto x = small_integers(count_of(shape));
    std::vector<float> middle(static_cast<std::size_t>(a * c), 0.0f);
    std::vector<float> ends(static_cast<std::size_t>(b), -INFINITY);
    for (int i = 0; i < a; ++i) {
      for (int j = 0; j < b; ++j) {
        for (int k = 0; k < c; ++k) {
          const float value = x[static_cast<std::size_t>((i * b + j) * c + k)];
          middle[static_cast<std::size_t>(i * c + k)] += value;
          ends[static_cast<std::size_t>(j)] = std::max(ends[static_cast<std::size_t>(j)], value);
        }
      }
    }
    std::vector<float> mean = middle;
    for (float& m : mean) m /= static_cast<float>(b);
    check_exact("sum", {x}, middle, [&](Isa isa) { return make_reduce(isa, ReduceKind::sum, SOURCE, OUTPUT, shape, {1}); });
    check_exact("mean", {x}, mean, [&](Isa isa) { return make_reduce(isa, ReduceKind::mean, SOURCE, OUTPUT, shape, {1}); });
    check_exact("max", {x}, ends, [&](Isa isa) { return make_reduce(isa, ReduceKind::max, SOURCE, OUTPUT, shape, {2, 0}); });
  }
}

void check_products() {
  for (const auto& [m, k, n] : {std::tuple{1, 1, 1}, std::tuple{7, 300, 33}, std::tuple{100, 20, 40}, std::tuple{13, 600, 16}}) {
    const auto rows = static_cast<std::size_t>(m), depth = static_cast<std::size_t>(k), columns = static_cast<std::size_t>(n);
    const auto a = small_integers(2 * rows * depth, 1);
    const auto b = small_integers(depth * columns, 2);
    std::vector<float> expected(2 * rows * columns, 0.0f);
    for (std::size_t i = 0; i < 2 * rows; ++i) {
      for (std::size_t l = 0; l < depth; ++l) {
        for (std::size_t j = 0; j < columns; ++j) expected[i * columns + j] += a[i * depth + l] * b[l * columns + j];
      }
    }
    check_exact("matmul", {a, b}, expected,
                [&](Isa isa) { return make_matmul(isa, SOURCE, SECOND, OUTPUT, {2, m, k}, {1, k, n}, {2, m, n}); });
  }
}

// Random numbers, and a bound on the relative error of each result.
template <class Make, class Exact>
void check_near(const std::string& what, const std::vector<std::vector<float>>& inputs, std::size_t count, double bound,
                Make make, Exact exact) {
  for (const Isa isa : isas()) {
    const std::string title = what + " " + name(isa);
    const std::vector<float> y = output_of(*make(isa), inputs, count, title);
    for (std::size_t i = 0; i < count; ++i) {
      const double expected = exact(i);
      if (std::fabs(y[i] - expected) <= bound * std::fabs(expected)) continue;
      expect(false, title + " at " + std::to_string(i) + ": " + std::to_string(y[i]) + ", expected " + std::to_string(expected));
      break;
    }
    ++cases;
  }
}

void check_log_softmax() {
  std::mt19937 random(6);
  for (const auto& [outer, size, inner] : {std::tuple{3, 10, 1}, std::tuple{2, 1001, 1}, std::tuple{2, 5, 150}, std::tuple{40, 300, 3}}) {
    const auto count = static_cast<std::size_t>(outer * size * inner);
    auto x = random_floats(random, count, 1.0, false);
    for (float& each : x) each = each * 40.0f - 200.0f;  // most quotients are zero in float, none of their logarithms is
    const auto step = static_cast<std::size_t>(inner), rows = static_cast<std::size_t>(size);
    // Two subtractions of numbers of a few hundreds, and a sum of n numbers that its logarithm makes absolute: each
    // result is at least log(2) away from zero, but for the largest of a row; the bound is of the largest of x.
    for (const Isa isa : isas()) {
      const std::string title = std::string("log softmax ") + name(isa);
      const auto y = output_of(*make_softmax(isa, SOURCE, OUTPUT, outer, size, inner, true), {x}, count, title);
      for (std::size_t at = 0; at < count; ++at) {
        const std::size_t first = at / (rows * step) * rows * step + at % step;
        double top = x[first], total = 0;
        for (std::size_t r = 0; r < rows; ++r) top = std::max(top, static_cast<double>(x[first + r * step]));
        for (std::size_t r = 0; r < rows; ++r) total += std::exp(static_cast<double>(x[first + r * step]) - top);
        const double expected = x[at] - top - std::log(total);
        if (std::fabs(y[at] - expected) <= (size + 16) * 0x1p-23 + 2 * std::fabs(expected) * 0x1p-23) continue;
        expect(false, title + " at " + std::to_string(at) + ": " + std::to_string(y[at]) + ", expected " + std::to_string(expected));
        break;
      }
      ++cases;
    }
  }
}

void check_softmax() {
  std::mt19937 random(5);
  for (const auto& [outer, size, inner] : {std::tuple{3, 10, 1}, std::tuple{2, 1001, 1}, std::tuple{2, 5, 150}, std::tuple{40, 300, 3}}) {
    const auto count = static_cast<std::size_t>(outer * size * inner);
    const auto x = random_floats(random, count, 1.0, false);
    const auto step = static_cast<std::size_t>(inner), rows = static_cast<std::size_t>(size);
    // The exponents are differences of at most ten or so, known to half a unit of that; n numbers are summed.
    check_near("softmax", {x}, count, (size + 16) * 0x1p-23,
               [o = outer, s = size, i = inner](Isa isa) { return make_softmax(isa, SOURCE, OUTPUT, o, s, i); },
               [&](std::size_t at) {
                 const std::size_t first = at / (rows * step) * rows * step + at % step;
                 double total = 0;
                 for (std::size_t r = 0; r < rows; ++r) total += std::exp(static_cast<double>(x[first + r * step]));
                 return std::exp(static_cast<double>(x[at])) / total;
               });
  }
}

void check_responses() {
  std::mt19937 random(6);
  const LocalResponseNormShape shape{2, 9, 27 * 13};
  const auto plane = static_cast<std::size_t>(shape.plane);
  const auto x = random_floats(random, 2 * 9 * plane, 1.0, false);
  for (const std::int64_t size : {1, 4, 5, 20}) {
    for (const float beta : {0.75f, 0.4f}) {
      check_near("response", {x}, x.size(), static_cast<double>(size + 8) * 0x1p-23,
                 [&](Isa isa) { return make_local_response_norm(isa, SOURCE, OUTPUT, shape, size, 0.5f, beta, 1.5f); },
                 [&](std::size_t at) {
                   const auto channel = static_cast<std::int64_t>(at / plane % 9);
                   double total = 0;
                   for (std::int64_t c = 0; c < 9; ++c) {
                     if (c < channel - (size - 1) / 2 || c > channel + size / 2) continue;
                     const double value = x[at - static_cast<std::size_t>(channel) * plane + static_cast<std::size_t>(c) * plane];
                     total += value * value;
                   }
                   return x[at] / std::pow(1.5 + 0.5 / static_cast<double>(size) * total, static_cast<double>(beta));
                 });
    }
  }
}

void check_layer_norms() {
  for (const auto& [outer, size] : {std::pair{3, 1}, std::pair{5, 37}, std::pair{200, 300}}) {
    const auto length = static_cast<std::size_t>(size);
    const auto x = small_integers(static_cast<std::size_t>(outer) * length, 3);
    const auto scale = small_integers(length, 4);
    const auto bias = small_integers(length, 5);
    for (const Isa isa : isas()) {
      const auto step = make_layer_norm(isa, SOURCE, OUTPUT, SECOND, {Space::input, 2}, outer, size, 1e-3f);
      const auto y = output_of(*step, {x, scale, bias}, x.size(), "layer norm");
      for (std::size_t i = 0; i < x.size(); ++i) {
        double mean = 0, square = 0;
        for (std::size_t j = 0; j < length; ++j) mean += x[i / length * length + j];
        mean /= size;
        for (std::size_t j = 0; j < length; ++j) square += std::pow(x[i / length * length + j] - mean, 2);
        const double factor = scale[i % length] / std::sqrt(square / size + 1e-3);
        const double expected = (x[i] - mean) * factor + bias[i % length];
        // The mean is known to a few roundings of 3, the variance to as many as there are numbers.
        const double bound = (size / 4 + 16) * 0x1p-23 * (std::fabs(factor) * 3 + std::fabs(expected) + std::fabs(bias[i % length]));
        if (std::fabs(y[i] - expected) <= bound) continue;
        expect(false, std::string("layer norm ") + name(isa) + " at " + std::to_string(i));
        break;
      }
      ++cases;
    }
  }
}

}  // namespace
}  // namespace secateur::testing

int main() {
  using namespace secateur::testing;
  check_pools();
  check_reductions();
  check_products();
  check_softmax();
  check_log_softmax();
  check_responses();
  check_layer_norms();
  return report(cases);
}
