// Activations against double precision and against each other; binary steps by the definition of broadcasting.
#include "step_check.h"

namespace secateur::testing {
namespace {

long cases = 0;

constexpr float ALPHA = 0.25f;
constexpr float BETA = 0.5f;
constexpr double EPSILON = 0x1p-23;

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double logistic(double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }
double clipped(double x) { return x < 0 ? 0 : x > 1 ? 1 : x; }
double gelu_by_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

struct Function {
  const char* name;
  ActivationKind kind;
  double (*exact)(double);
  double ulps;           // of the result
  double of_argument;    // beside it, in units of the argument's last place: a factor known to so many roundings of 1
};

const Function FUNCTIONS[] = {
    {"none", ActivationKind::none, [](double x) { return x; }, 0, 0},
    {"relu", ActivationKind::relu, [](double x) { return x > 0 ? x : 0; }, 0, 0},
    {"leaky_relu", ActivationKind::leaky_relu, [](double x) { return x < 0 ? ALPHA * x : x; }, 0.5, 0},
    {"clip", ActivationKind::clip, [](double x) { return x < ALPHA ? ALPHA : x > BETA ? BETA : x; }, 0, 0},
    {"sigmoid", ActivationKind::sigmoid, logistic, 4, 0},
    {"hard_sigmoid", ActivationKind::hard_sigmoid, [](double x) { return clipped(ALPHA * x + BETA); }, 0.5, 0},
    {"hard_swish", ActivationKind::hard_swish, [](double x) { return x * clipped(x / 6 + 0.5); }, 1, 4},
    {"swish", ActivationKind::swish, [](double x) { return x * logistic(x); }, 5, 0},
    {"tanh", ActivationKind::tanh, [](double x) { return std::tanh(x); }, 3, 0},
    {"gelu", ActivationKind::gelu, [](double x) { return x * normal_cdf(x); }, 1, 4},
    {"gelu_tanh", ActivationKind::gelu_tanh, gelu_by_tanh, 1, 4},
    {"erf", ActivationKind::erf, [](double x) { return std::erf(x); }, 3, 0},
    {"exp", ActivationKind::exp, [](double x) { return std::exp(x); }, 2, 0},
    {"sqrt", ActivationKind::sqrt, [](double x) { return std::sqrt(x); }, 0.5, 0},
    {"negative", ActivationKind::negative, [](double x) { return -x; }, 0, 0},
    {"absolute", ActivationKind::absolute, [](double x) { return std::fabs(x); }, 0, 0},
};

double unit(double x) {
  const float near = std::fabs(static_cast<float>(x));
  return static_cast<double>(std::nextafter(near, INFINITY)) - near;
}

std::vector<float> numbers(ActivationKind kind) {
  std::vector<float> x;
  for (int i = -8700; i <= 8870; ++i) x.push_back(static_cast<float>(i) * 0.01f);
  for (int i = -4003; i <= 4003; ++i) x.push_back(static_cast<float>(i) * 0.001f);
  for (int e = -37; e < 0; ++e) x.push_back(std::ldexp(1.1f, e));
  for (float& v : x) v = kind == ActivationKind::sqrt ? std::fabs(v) : v;
  return x;
}

void check_function(const Function& f) {
  const std::vector<float> x = numbers(f.kind);
  std::vector<float> first;
  for (const Isa isa : isas()) {
    const std::string what = std::string(f.name) + " " + name(isa);
    const auto step = make_elementwise(isa, SOURCE, OUTPUT, static_cast<std::int64_t>(x.size()), {f.kind, ALPHA, BETA});
    const std::vector<float> y = output_of(*step, {x}, x.size(), what);
    if (first.empty()) first = y;
    expect(std::memcmp(y.data(), first.data(), y.size() * sizeof(float)) == 0, what + ": not the bits of the others");
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double exact = f.exact(x[i]);
      const double bound = f.ulps * unit(exact) + f.of_argument * EPSILON * std::fabs(x[i]);
      if (std::fabs(y[i] - exact) <= bound) continue;
      expect(false, what + " of " + std::to_string(x[i]) + ": " + std::to_string(y[i]) + ", expected " + std::to_string(exact));
      break;
    }
    ++cases;
  }
}

void check_lengths() {
  for (const Isa isa : isas()) {
    for (const std::int64_t count : {0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 70000}) {
      const std::vector<float> x = small_integers(static_cast<std::size_t>(count));
      std::vector<float> expected = x;
      for (float& v : expected) v = std::max(v, 0.0f);
      const auto step = make_elementwise(isa, SOURCE, OUTPUT, count, {ActivationKind::relu});
      expect_same(output_of(*step, {x}, x.size(), "relu"), expected, std::string("relu of many lengths ") + name(isa));
      ++cases;
    }
  }
}

float combine(BinaryKind kind, float a, float b) {
  switch (kind) {
    case BinaryKind::add: return a + b;
    case BinaryKind::subtract: return a - b;
    case BinaryKind::multiply: return a * b;
    case BinaryKind::divide: return a / b;
    case BinaryKind::power: return std::pow(a, b);
    case BinaryKind::minimum: return std::min(a, b);
    case BinaryKind::maximum: return std::max(a, b);
  }
  return 0;
}

// The element of a tensor that stands at the index-th place of the output.
std::size_t broadcast(const Shape& shape, const Shape& output, std::size_t index) {
  std::size_t offset = 0;
  std::size_t stride = 1;
  for (std::size_t back = 1; back <= output.size(); ++back) {
    const auto size = static_cast<std::size_t>(output[output.size() - back]);
    const std::size_t place = index % size;
    index /= size;
    if (back > shape.size()) continue;
    const auto own = static_cast<std::size_t>(shape[shape.size() - back]);
    if (own > 1) offset += place * stride;
    stride *= own;
  }
  return offset;
}

void check_binary(const Shape& left, const Shape& right, const Shape& output) {
  std::vector<float> a = small_integers(count_of(left), 1);
  std::vector<float> b = small_integers(count_of(right), 2);
  for (float& v : a) v = std::fabs(v) + 1;
  for (float& v : b) v = v == 0 ? 2 : v;
  for (int k = 0; k <= static_cast<int>(BinaryKind::maximum); ++k) {
    const auto kind = static_cast<BinaryKind>(k);
    std::vector<float> expected(count_of(output));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expected[i] = combine(kind, a[broadcast(left, output, i)], b[broadcast(right, output, i)]);
    }
    for (const Isa isa : isas()) {
      const std::string what = "binary " + std::to_string(k) + " " + name(isa);
      const auto step = make_binary(isa, kind, SOURCE, SECOND, OUTPUT, left, right, output, {});
      expect_same(output_of(*step, {a, b}, expected.size(), what), expected, what);
      ++cases;
    }
  }
}

}  // namespace
}  // namespace secateur::testing

int main() {
  using namespace secateur::testing;
  for (const Function& f : FUNCTIONS) check_function(f);
  check_lengths();
  check_binary({3, 7}, {3, 7}, {3, 7});
  check_binary({2, 3, 5, 5}, {3, 1, 1}, {2, 3, 5, 5});
  check_binary({4, 1}, {1, 9}, {4, 9});
  check_binary({}, {17}, {17});
  check_binary({17}, {1}, {17});
  check_binary({1, 1}, {1}, {1, 1});
  check_binary({5, 1, 3, 1, 2}, {4, 1, 6, 1}, {5, 4, 3, 6, 2});
  check_binary({300, 300}, {300, 1}, {300, 300});
  expect_refusal("does not broadcast", [] {
    secateur::make_binary(secateur::Isa::scalar, secateur::BinaryKind::add, SOURCE, SECOND, OUTPUT, {3}, {4}, {4}, {});
  });
  return report(cases);
}
