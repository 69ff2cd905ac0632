// Every linear kernel on every instruction set against a reference in double precision.
#include <cstdio>
#include <string>
#include <vector>

#include "secateur/names.h"
#include "secateur/weighted.h"
#include "weighted_check.h"

namespace secateur::testing {
namespace {

constexpr LinearKernel KERNELS[] = {LinearKernel::inputs, LinearKernel::outputs, LinearKernel::dense,
                                    LinearKernel::sparse_batch, LinearKernel::panel_batch,
                                    LinearKernel::sparse_batch_256, LinearKernel::panel_batch_256,
                                    LinearKernel::strips, LinearKernel::dense_batch,
                                    LinearKernel::bitmask};
constexpr LayoutKind LAYOUTS[] = {LayoutKind::dense, LayoutKind::bitmask, LayoutKind::gap8, LayoutKind::index16};
constexpr ValueType TYPES[] = {ValueType::float32, ValueType::float16, ValueType::bfloat16};

struct Setting {
  double density, alive;  // of the weights and of the inputs
  bool integers, bias, residual, in_place;
  Activation activation;
};

struct Problem {
  LinearShape shape;
  std::vector<float> x, bias, residual;
  std::vector<double> exact, magnitude, terms;
};

long cases = 0;

// `weights` are rows x inputs whatever the order they are stored in.
Problem make_problem(const LinearShape& s, const Setting& t, const std::vector<float>& weights, std::mt19937& random) {
  Problem p;
  p.shape = s;
  p.x = random_floats(random, static_cast<std::size_t>(s.rows * s.in), t.alive, t.integers);
  p.bias = random_floats(random, static_cast<std::size_t>(s.out), 1.0, t.integers);
  p.residual = random_floats(random, static_cast<std::size_t>(s.rows * s.out), 1.0, t.integers);
  for (std::int64_t r = 0; r < s.rows; ++r) {
    for (std::int64_t o = 0; o < s.out; ++o) {
      double sum = t.bias ? p.bias[static_cast<std::size_t>(o)] : 0;
      if (t.residual) sum += p.residual[static_cast<std::size_t>(r * s.out + o)];
      double magnitude = std::fabs(t.bias ? p.bias[static_cast<std::size_t>(o)] : 0) +
                         std::fabs(t.residual ? p.residual[static_cast<std::size_t>(r * s.out + o)] : 0);
      double terms = 0;
      for (std::int64_t i = 0; i < s.in; ++i) {
        const double product = static_cast<double>(weights[static_cast<std::size_t>(o * s.in + i)]) *
                               p.x[static_cast<std::size_t>(r * s.in + i)];
        sum += product;
        magnitude += std::fabs(product);
        terms += product != 0;
      }
      p.exact.push_back(t.activation.kind == ActivationKind::relu && sum < 0 ? 0 : sum);
      p.magnitude.push_back(magnitude);
      p.terms.push_back(terms);
    }
  }
  return p;
}

void check(const Problem& p, const Setting& t, LinearKernel kernel, Isa isa, const OwnedMatrix& weights, bool columns) {
  const std::string what = std::string(LINEAR_NAMES[static_cast<int>(kernel)]) + " " + name(isa) + " " +
                           std::to_string(p.shape.rows) + "x" + std::to_string(p.shape.in) + "x" +
                           std::to_string(p.shape.out) + (columns ? " columns" : " rows") + " layout " +
                           std::to_string(static_cast<int>(weights.view.layout)) + " type " +
                           std::to_string(static_cast<int>(weights.view.type)) + (t.integers ? " integers" : " random");
  const Ref output{Space::output, 0};
  const std::size_t bytes = linear_workspace_bytes(kernel, p.shape, weights.view, columns, isa);
  expect(bytes % 64 == 0, what + ": workspace not aligned");
  const auto steps = make_linear(kernel, isa, p.shape, weights.view, columns, {Space::input, 0}, output,
                                 t.bias ? Ref{Space::constant, 0} : Ref{},
                                 !t.residual  ? Ref{}
                                 : t.in_place ? output
                                              : Ref{Space::input, 1},
                                 t.activation, {Space::arena, 0});
  expect(!steps.empty(), what + ": no steps");
  std::vector<float> first;
  for (const std::int64_t pieces : {std::int64_t{1}, std::int64_t{3}, std::int64_t{1000}}) {
    Guarded in(p.x.size()), y(p.exact.size()), arena(bytes / sizeof(float));
    std::copy(p.x.begin(), p.x.end(), in.data());
    if (t.in_place) std::copy(p.residual.begin(), p.residual.end(), y.data());
    const void* inputs[] = {in.data(), p.residual.data()};
    void* outputs[] = {y.data()};
    const void* constants[] = {p.bias.data()};
    const Memory memory{reinterpret_cast<std::byte*>(arena.data()), inputs, outputs, constants};
    for (const auto& step : steps) run_step(*step, memory, pieces, pieces == 3);
    expect(in.intact() && y.intact() && arena.intact(), what + ": wrote outside");
    const std::vector<float> got(y.data(), y.data() + y.size());
    if (pieces > 1) {
      expect(std::memcmp(got.data(), first.data(), got.size() * sizeof(float)) == 0, what + ": depends on the split");
      continue;
    }
    first = got;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const bool good = t.integers ? static_cast<double>(got[i]) == p.exact[i]
                                   : within_bound(got[i], p.exact[i], p.magnitude[i], p.terms[i]);
      if (!good) {
        expect(false, what + " at " + std::to_string(i) + ": " + std::to_string(got[i]) + ", expected " +
                          std::to_string(p.exact[i]));
        break;
      }
    }
  }
  ++cases;
}

void check_all(const LinearShape& s, const Setting& t, std::mt19937& random) {
  std::vector<float> dense = random_floats(random, static_cast<std::size_t>(s.out * s.in), t.density, t.integers);
  for (std::int64_t i = 0; i < s.in && s.out > 1; ++i) dense[static_cast<std::size_t>(i)] = 0.0f;
  for (std::int64_t o = 0; o < s.out && s.in > 1; ++o) dense[static_cast<std::size_t>(o * s.in + s.in / 2)] = 0.0f;
  std::vector<float> turned(dense.size());
  for (std::int64_t o = 0; o < s.out; ++o) {
    for (std::int64_t i = 0; i < s.in; ++i) {
      turned[static_cast<std::size_t>(i * s.out + o)] = dense[static_cast<std::size_t>(o * s.in + i)];
    }
  }
  for (const ValueType type : TYPES) {
    std::vector<float> stored;
    for (const float w : dense) stored.push_back(rounded(w, type));
    const Problem problem = make_problem(s, t, stored, random);
    for (const LayoutKind layout : LAYOUTS) {
      for (const bool columns : {false, true}) {
        const OwnedMatrix weights =
            columns ? make_matrix(turned, s.in, s.out, layout, type) : make_matrix(dense, s.out, s.in, layout, type);
        for (const Isa isa : isas()) {
          for (const LinearKernel kernel : KERNELS) {
            if (applicable(kernel, s, weights.view, columns, isa)) check(problem, t, kernel, isa, weights, columns);
          }
        }
      }
    }
  }
}

// A matrix may go unless a step says that it reads it; with guards around it, or a sanitizer, reading it would be seen.
void check_matrix_may_go(const LinearShape& s, double density, std::mt19937& random) {
  const std::vector<float> dense = random_floats(random, static_cast<std::size_t>(s.out * s.in), density, true);
  const std::vector<float> x = random_floats(random, static_cast<std::size_t>(s.rows * s.in), 0.7, true);
  for (const LayoutKind layout : LAYOUTS) {
    for (const bool columns : {false, true}) {
      for (const Isa isa : isas()) {
        for (const LinearKernel kernel : KERNELS) {
          const auto lines = columns ? s.in : s.out;
          const auto length = columns ? s.out : s.in;
          OwnedMatrix weights = make_matrix(dense, lines, length, layout, ValueType::float32);
          if (!applicable(kernel, s, weights.view, columns, isa)) continue;
          std::vector<float> arena(linear_workspace_bytes(kernel, s, weights.view, columns, isa) / sizeof(float));
          const auto steps = make_linear(kernel, isa, s, weights.view, columns, {Space::input, 0}, {Space::output, 0}, {}, {},
                                         {}, {Space::arena, 0});
          std::vector<float> y[2];
          for (std::vector<float>& result : y) {
            result.assign(static_cast<std::size_t>(s.rows * s.out), 0.0f);
            const void* inputs[] = {x.data()};
            void* outputs[] = {result.data()};
            const Memory memory{reinterpret_cast<std::byte*>(arena.data()), inputs, outputs, nullptr};
            for (const auto& step : steps) run_step(*step, memory, 1, false);
            bool reads = false;
            for (const auto& step : steps) reads = reads || step->reads_matrix();
            if (reads) continue;
            weights.values.reset();
            weights.indices.reset();
            weights.starts.reset();
          }
          expect(y[0] == y[1], std::string(LINEAR_NAMES[static_cast<int>(kernel)]) + " read what it said it would not");
          ++cases;
        }
      }
    }
  }
}

constexpr LinearShape SHAPES[] = {{1, 1, 1},     {1, 7, 5},    {2, 16, 8},   {3, 300, 100},
                                  {7, 33, 17},   {8, 64, 10},  {9, 515, 31}, {17, 120, 19},
                                  {1, 1030, 66}, {33, 40, 70}, {64, 90, 50}, {130, 20, 9}};

constexpr Setting SETTINGS[] = {
    {0.3, 0.5, true, true, true, false, {ActivationKind::relu, 0, 0}},
    {0.02, 0.9, false, true, false, false, {ActivationKind::none, 0, 0}},
    {1.0, 1.0, false, false, true, true, {ActivationKind::none, 0, 0}},
    {0.0, 1.0, true, true, false, false, {ActivationKind::none, 0, 0}},
};

}  // namespace
}  // namespace secateur::testing

int main() {
  using namespace secateur;
  using namespace secateur::testing;
  std::mt19937 random(5);
  for (const LinearShape& s : SHAPES) {
    for (const Setting& t : SETTINGS) check_all(s, t, random);
  }
  check_matrix_may_go({2, 90, 70}, 0.3, random);
  check_matrix_may_go({1, 700, 600}, 0.2, random);
  // Enough work for partial sums and several items.
  check_all({1, 700, 600}, {0.2, 0.5, true, true, false, false, {ActivationKind::relu, 0, 0}}, random);
  check_all({2, 900, 500}, {0.5, 0.5, false, true, true, true, {ActivationKind::none, 0, 0}}, random);
  // More than second-level caches keep; one vector is left over.
  check_all({1, 1040, 1020}, {0.9, 1.0, false, true, false, false, {ActivationKind::none, 0, 0}}, random);
  // Whole blocks of inputs, and a part of one.
  check_all({5, 256, 60}, {0.7, 1.0, true, true, true, false, {ActivationKind::none, 0, 0}}, random);
  check_all({9, 400, 110}, {0.9, 1.0, false, true, false, false, {ActivationKind::none, 0, 0}}, random);
  check_all({24, 800, 500}, {0.1, 0.7, true, true, false, false, {ActivationKind::relu, 0, 0}}, random);
  return report(cases);
}
