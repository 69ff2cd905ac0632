// Steps that only move numbers, by their definitions.
#include "step_check.h"

namespace secateur::testing {
namespace {

long cases = 0;

Shape index_of(std::size_t place, const Shape& shape) {
  Shape index(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    index[d] = static_cast<std::int64_t>(place) % shape[d];
    place /= static_cast<std::size_t>(shape[d]);
  }
  return index;
}

std::size_t place_of(const Shape& index, const Shape& shape) {
  std::size_t place = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) place = place * static_cast<std::size_t>(shape[d]) + static_cast<std::size_t>(index[d]);
  return place;
}

// The output holds, at each index, what `from` says; an empty index means `otherwise`.
template <class From>
void check(const std::string& what, const Step& step, const Shape& in, const Shape& out, From from, float otherwise = 0) {
  const auto x = small_integers(count_of(in));
  std::vector<float> expected(count_of(out));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const Shape source = from(index_of(i, out));
    expected[i] = source.empty() ? otherwise : x[place_of(source, in)];
  }
  expect_same(output_of(step, {x}, expected.size(), what), expected, what);
  ++cases;
}

void check_slices() {
  const auto one = [](const Shape& in, const Shape& starts, const Shape& steps, const Shape& out) {
    check("slice", *make_slice(SOURCE, OUTPUT, in, starts, steps, out), in, out, [&](Shape index) {
      for (std::size_t d = 0; d < index.size(); ++d) index[d] = starts[d] + steps[d] * index[d];
      return index;
    });
  };
  one({10}, {9}, {-1}, {10});
  one({10}, {8}, {-3}, {3});
  one({4, 50}, {1, 10}, {2, 1}, {2, 30});
  one({3, 40, 50}, {2, 0, 49}, {-1, 2, -2}, {3, 20, 25});
  one({2, 300, 200}, {0, 1, 0}, {1, 1, 1}, {2, 299, 200});
  one({5, 1, 7}, {4, 0, 3}, {1, 1, 5}, {1, 1, 1});
}

void check_transposes() {
  const auto one = [](const Shape& in, const Shape& permutation) {
    Shape out;
    for (const std::int64_t from : permutation) out.push_back(in[static_cast<std::size_t>(from)]);
    check("transpose", *make_transpose(SOURCE, OUTPUT, in, permutation), in, out, [&](const Shape& index) {
      Shape source(index.size());
      for (std::size_t d = 0; d < index.size(); ++d) source[static_cast<std::size_t>(permutation[d])] = index[d];
      return source;
    });
  };
  one({7}, {0});
  one({5, 33}, {1, 0});
  one({3, 17, 40}, {0, 2, 1});
  one({3, 17, 40}, {2, 1, 0});
  one({2, 5, 6, 7}, {0, 2, 1, 3});
  one({2, 3, 4, 5, 6}, {4, 1, 3, 0, 2});
  one({200, 300}, {1, 0});
  one({2, 1, 9, 1}, {3, 2, 1, 0});
  // Two and three images interlaced, in one dimension and in two.
  one({3, 2, 17}, {0, 2, 1});
  one({3, 3, 4}, {0, 2, 1});
  one({2, 3, 2, 2, 5, 7}, {0, 1, 4, 2, 5, 3});
  one({2, 3, 3, 3, 5, 7}, {0, 1, 4, 2, 5, 3});
  one({1, 8, 2, 2, 64, 63}, {0, 1, 4, 2, 5, 3});
}

void check_expansions() {
  const auto one = [](const Shape& in, const Shape& out) {
    check("expand", *make_expand(SOURCE, OUTPUT, in, out), in, out, [&](const Shape& index) {
      Shape source;
      for (std::size_t d = 0; d < in.size(); ++d) source.push_back(in[d] == 1 ? 0 : index[d + out.size() - in.size()]);
      return source;
    });
  };
  one({3}, {5, 3});
  one({3, 1}, {3, 70});
  one({4, 1, 6}, {2, 4, 5, 6});
  one({1}, {100000});
  one({4, 6, 1}, {4, 6, 2});
  one({4, 1, 6, 1}, {4, 3, 6, 3});
  one({200, 301, 1}, {200, 301, 3});
}

void check_pads() {
  const auto one = [](const Shape& in, const Shape& before, const Shape& out, PadMode mode) {
    check("pad", *make_pad(SOURCE, OUTPUT, in, before, out, mode, 2.5f), in, out,
          [&](const Shape& index) -> Shape {
            Shape source;
            for (std::size_t d = 0; d < in.size(); ++d) {
              std::int64_t i = index[d] - before[d];
              if (mode == PadMode::constant && (i < 0 || i >= in[d])) return {};
              if (mode == PadMode::edge) i = std::clamp<std::int64_t>(i, 0, in[d] - 1);
              while (mode == PadMode::reflect && (i < 0 || i >= in[d])) i = in[d] == 1 ? 0 : i < 0 ? -i : 2 * (in[d] - 1) - i;
              source.push_back(i);
            }
            return source;
          },
          2.5f);
  };
  for (const PadMode mode : {PadMode::constant, PadMode::reflect, PadMode::edge}) {
    one({5}, {3}, {11}, mode);
    one({1}, {2}, {5}, mode);
    one({3, 20}, {0, 9}, {3, 44}, mode);
    one({2, 3, 30, 40}, {0, 1, 1, 2}, {2, 5, 32, 43}, mode);
    one({8, 100, 100}, {0, 3, 3}, {8, 106, 106}, mode);
  }
}

void check_concats() {
  const auto a = small_integers(3 * 70, 1);
  const auto b = small_integers(3 * 1, 2);
  const auto c = small_integers(3 * 40000, 3);
  std::vector<float> expected;
  for (std::size_t i = 0; i < 3; ++i) {
    for (const auto* part : {&a, &b, &c}) {
      const auto size = static_cast<std::ptrdiff_t>(part->size() / 3);
      const auto first = part->begin() + static_cast<std::ptrdiff_t>(i) * size;
      expected.insert(expected.end(), first, first + size);
    }
  }
  const auto step = make_concat({SOURCE, SECOND, {Space::input, 2}}, {70, 1, 40000}, OUTPUT, 3);
  expect_same(output_of(*step, {a, b, c}, expected.size(), "concat"), expected, "concat");
  expect_same(output_of(*make_copy(SOURCE, OUTPUT, 120000), {c}, c.size(), "copy"), c, "copy");
  cases += 2;
}

void check_gathers() {
  const std::int64_t indices[] = {0, 4, -1, 2, -5, 5, -6, INT64_MIN};
  const auto x = small_integers(3 * 5 * 7);
  for (const std::int64_t inner : {7, 1}) {
    const std::int64_t outer = inner == 1 ? 21 : 3;
    const auto step = make_gather(SOURCE, {Space::constant, 0}, OUTPUT, outer, 5, inner, 8);
    Guarded output(static_cast<std::size_t>(outer * 8 * inner));
    const void* inputs[] = {x.data()};
    void* outputs[] = {output.data()};
    const void* constants[] = {indices};
    run_step(*step, Memory{nullptr, inputs, outputs, constants}, 1, false);
    expect(output.intact(), "gather: wrote outside");
    for (std::int64_t i = 0; i < outer * 8 * inner; ++i) {
      const std::int64_t asked = indices[i / inner % 8];
      const std::int64_t index = asked < 0 && asked >= -5 ? asked + 5 : asked;
      const float got = output.data()[i];
      if (index < 0 || index >= 5) {
        expect(std::isnan(got), "gather: out of range");
      } else {
        expect(got == x[static_cast<std::size_t>((i / (8 * inner) * 5 + index) * inner + i % inner)], "gather");
      }
    }
    ++cases;
  }
}

void check_refusals() {
  expect_refusal("leave a size of 4", [] { make_slice(SOURCE, OUTPUT, {4}, {3}, {-2}, {3}); });
  expect_refusal("leave a size of 4", [] { make_slice(SOURCE, OUTPUT, {4}, {0}, {INT64_MAX}, {3}); });
  expect_refusal("a permutation of 2", [] { make_transpose(SOURCE, OUTPUT, {4, 5}, {1, 1}); });
  expect_refusal("does not broadcast", [] { make_expand(SOURCE, OUTPUT, {3}, {4}); });
  expect_refusal("do not fit", [] { make_pad(SOURCE, OUTPUT, {3}, {-1}, {5}, PadMode::edge, 0); });
  expect_refusal("a size for each source", [] { make_concat({SOURCE}, {}, OUTPUT, 1); });
  expect_refusal("a size is -1", [] { make_copy(SOURCE, OUTPUT, -1); });
  expect_refusal("2^48", [] { make_gather(SOURCE, SECOND, OUTPUT, 1LL << 30, 1LL << 30, 1, 1); });
  ++cases;
}

}  // namespace
}  // namespace secateur::testing

int main() {
  using namespace secateur::testing;
  check_slices();
  check_transposes();
  check_expansions();
  check_pads();
  check_concats();
  check_gathers();
  check_refusals();
  return report(cases);
}
