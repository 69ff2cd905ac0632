// What a matrix promises, and every way to break the promise.
#include "matrix_entries.h"
#include "validate.h"

#include <functional>

#include "step_check.h"

namespace secateur::testing {
namespace {

long cases = 0;

constexpr LayoutKind LAYOUTS[] = {LayoutKind::dense, LayoutKind::bitmask, LayoutKind::gap8, LayoutKind::index16};
constexpr ValueType TYPES[] = {ValueType::float32, ValueType::float16, ValueType::bfloat16};

MatrixArrays arrays_of(const Matrix& m) {
  switch (m.layout) {
    case LayoutKind::dense: return {m.entries, 0, 0};
    case LayoutKind::bitmask: return {m.entries, m.lines * ((m.length + 7) / 8), 0};
    case LayoutKind::gap8:
    case LayoutKind::index16: return {m.entries, m.entries, m.lines + 1};
  }
  return {};
}

void check_valid() {
  std::mt19937 random(3);
  for (const LayoutKind layout : LAYOUTS) {
    for (const ValueType type : TYPES) {
      for (const double density : {0.0, 0.003, 0.3, 1.0}) {
        for (const std::int64_t length : {1, 7, 8, 9, 700, 3000}) {
          const auto dense = random_floats(random, static_cast<std::size_t>(5 * length), density, false);
          const OwnedMatrix m = make_matrix(dense, 5, length, layout, type);
          std::string found;
          try {
            validate(m.view, arrays_of(m.view));
          } catch (const std::invalid_argument& e) {
            found = e.what();
          }
          expect(found.empty(), "refused: " + found);
          std::vector<float> back(dense.size());
          to_dense(m.view, back.data());
          expect_same(back, m.dense, "unpacked");
          const auto alive = std::count_if(m.dense.begin(), m.dense.end(), [](float x) { return x != 0; });
          expect(count_nonzeros(m.view) == alive, "non-zeros");
          ++cases;
        }
      }
    }
  }
}

// Four lines of 600: one empty, one with a filler.
OwnedMatrix sample(LayoutKind layout, ValueType type = ValueType::float32) {
  std::vector<float> dense(4 * 601, 0.0f);
  for (const std::size_t place : {0u, 3u, 17u, 601u + 500u, 3u * 601u + 2u, 3u * 601u + 255u, 3u * 601u + 600u}) {
    dense[place] = static_cast<float>(place) + 1.0f;
  }
  return make_matrix(dense, 4, 601, layout, type);
}

using Break = std::function<void(OwnedMatrix&, MatrixArrays&)>;

void check_broken(LayoutKind layout, const std::string& words, const Break& damage) {
  OwnedMatrix m = sample(layout);
  MatrixArrays arrays = arrays_of(m.view);
  damage(m, arrays);
  expect_refusal(words, [&] { validate(m.view, arrays); });
  ++cases;
}

std::uint8_t* bytes(OwnedMatrix& m) { return reinterpret_cast<std::uint8_t*>(m.indices.get()); }
std::uint16_t* positions(OwnedMatrix& m) { return reinterpret_cast<std::uint16_t*>(m.indices.get()); }
float* values(OwnedMatrix& m) { return reinterpret_cast<float*>(m.values.get()); }

void check_shapes() {
  for (const LayoutKind layout : LAYOUTS) {
    check_broken(layout, "shape: expected at least one line", [](auto& m, auto&) { m.view.lines = 0; });
    check_broken(layout, "shape: expected at least one line", [](auto& m, auto&) { m.view.length = -1; });
    check_broken(layout, "2^48", [](auto& m, auto&) { m.view.length = INT64_MAX / 2; });
    check_broken(layout, "values: expected", [](auto&, auto& a) { a.values += 1; });
    check_broken(layout, "aligned", [](auto& m, auto&) { m.view.values = m.values.get() + 2; });
  }
  check_broken(LayoutKind::dense, "expected none with a dense layout", [](auto&, auto& a) { a.indices = 1; });
  check_broken(LayoutKind::dense, "values: expected 2404", [](auto& m, auto& a) { m.view.entries = a.values = 2403; });
  check_broken(LayoutKind::dense, "starts: expected none", [](auto&, auto& a) { a.starts = 5; });
  check_broken(LayoutKind::dense, "layout: expected 0 to 3", [](auto& m, auto&) { m.view.layout = LayoutKind{9}; });
  check_broken(LayoutKind::dense, "type: expected 0 to 2", [](auto& m, auto&) { m.view.type = ValueType{3}; });
}

void check_bitmasks() {
  const LayoutKind k = LayoutKind::bitmask;
  check_broken(k, "mask: expected 304 elements, found 303", [](auto&, auto& a) { a.indices -= 1; });
  check_broken(k, "line 2: expected no bits beyond position 600", [](auto& m, auto&) { bytes(m)[3 * 76 - 1] |= 2; });
  check_broken(k, "one bit for each of 7 values, found 8 bits", [](auto& m, auto&) { bytes(m)[5] |= 2; });
  check_broken(k, "entry 3: expected a value that is not zero", [](auto& m, auto&) { values(m)[3] = -0.0f; });
}

void check_gaps() {
  const LayoutKind k = LayoutKind::gap8;
  check_broken(k, "gaps: expected 9 elements, found 8", [](auto&, auto& a) { a.indices -= 1; });
  check_broken(k, "starts: expected 5 elements, found 4", [](auto&, auto& a) { a.starts -= 1; });
  check_broken(k, "begin with 0, found 1", [](auto& m, auto&) { m.starts[0] = 1; });
  check_broken(k, "line 1: expected a start of at least 3", [](auto& m, auto&) { m.starts[2] = 2; });
  check_broken(k, "end with 9, found 8", [](auto& m, auto&) { m.starts[4] = 8; });
  check_broken(k, "line 3, entry 8: expected a position below 601, found 601", [](auto& m, auto&) { bytes(m)[8] = 89; });
  check_broken(k, "entry 1: expected a zero to be +0 with a gap of 255 (a filler), found +0 with a gap of 2",
               [](auto& m, auto&) { values(m)[1] = 0.0f; });
  check_broken(k, "found -0 with a gap of 255", [](auto& m, auto&) { values(m)[3] = -0.0f; });
  check_broken(k, "line 1, entry 3: expected no filler at a line's end",
               [](auto& m, auto&) { m.starts[2] = m.starts[3] = 4; });
}

void check_indices() {
  const LayoutKind k = LayoutKind::index16;
  check_broken(k, "at most 65536", [](auto& m, auto&) { m.view.length = 65537; });
  check_broken(k, "positions: expected 7 elements", [](auto&, auto& a) { a.indices += 1; });
  check_broken(k, "line 0, entry 2: expected a position above 3, found 3", [](auto& m, auto&) { positions(m)[2] = 3; });
  check_broken(k, "line 3, entry 6: expected a position below 601, found 601", [](auto& m, auto&) { positions(m)[6] = 601; });
  check_broken(k, "entry 0: expected a value that is not zero", [](auto& m, auto&) { values(m)[0] = 0.0f; });
  check_broken(k, "aligned", [](auto& m, auto&) { m.view.indices = m.indices.get() + 1; });
}

// Whatever is in the arrays, a matrix that passes is one that unpacks without leaving them.
void check_random_damage() {
  std::mt19937 random(11);
  for (int i = 0; i < 20000; ++i) {
    const LayoutKind layout = LAYOUTS[1 + random() % 3];
    OwnedMatrix m = sample(layout, TYPES[random() % 3]);
    const MatrixArrays arrays = arrays_of(m.view);
    for (auto hits = 1 + random() % 3; hits > 0; --hits) {
      const auto wrong = static_cast<std::uint8_t>(random());
      const bool starts = random() % 2 == 0 && arrays.starts > 0;
      if (starts) {
        m.starts[random() % static_cast<unsigned>(arrays.starts)] = wrong % 12;
      } else {
        bytes(m)[random() % static_cast<unsigned>(arrays.indices)] = wrong;
      }
    }
    try {
      validate(m.view, arrays);
      std::vector<float> dense(static_cast<std::size_t>(m.view.lines * m.view.length));
      to_dense(m.view, dense.data());
    } catch (const std::invalid_argument&) {
      ++cases;
    }
  }
}

}  // namespace
}  // namespace secateur::testing

int main() {
  using namespace secateur::testing;
  check_valid();
  check_shapes();
  check_bitmasks();
  check_gaps();
  check_indices();
  check_random_damage();
  return report(cases);
}
