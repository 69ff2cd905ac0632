// What the tests of the steps without weights share: one step, run from misaligned memory between canaries.
#pragma once

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "secateur/steps.h"
#include "weighted_check.h"

namespace secateur::testing {

inline const Ref SOURCE{Space::input, 0};
inline const Ref SECOND{Space::input, 1};
inline const Ref OUTPUT{Space::output, 0};

inline std::size_t count_of(const Shape& shape) {
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  return count;
}

// Memory that begins one float after a cache line, and as much of it as is needed: a sanitizer sees what is read beyond.
class Misaligned {
 public:
  explicit Misaligned(const std::vector<float>& numbers)
      : memory_(static_cast<float*>(std::aligned_alloc(64, (numbers.size() * 4 + 4 + 63) / 64 * 64)), std::free) {
    std::copy(numbers.begin(), numbers.end(), memory_.get() + 1);
  }
  const float* data() const { return memory_.get() + 1; }

 private:
  std::unique_ptr<float, decltype(&std::free)> memory_;
};

// The output of a step; whatever the cut into ranges, it must be the same to the bit.
inline std::vector<float> output_of(const Step& step, const std::vector<std::vector<float>>& inputs, std::size_t count,
                                    const std::string& what) {
  std::vector<Misaligned> sources;
  std::vector<const void*> pointers;
  for (const auto& numbers : inputs) sources.emplace_back(numbers);
  for (const Misaligned& source : sources) pointers.push_back(source.data());
  std::vector<float> first;
  for (const std::int64_t pieces : {std::int64_t{1}, std::int64_t{3}, std::int64_t{1} << 40}) {
    Guarded output(count + 1);
    void* outputs[] = {output.data() + 1};
    output.data()[0] = 5.0f;
    run_step(step, Memory{nullptr, pointers.data(), outputs, nullptr}, pieces, false);
    expect(output.intact() && output.data()[0] == 5.0f, what + ": wrote outside");
    std::vector<float> got(output.data() + 1, output.data() + 1 + count);
    if (pieces == 1) first = got;
    expect(count == 0 || std::memcmp(got.data(), first.data(), count * sizeof(float)) == 0, what + ": depends on the cut");
  }
  return first;
}

inline void expect_same(const std::vector<float>& got, const std::vector<float>& expected, const std::string& what) {
  expect(got.size() == expected.size(), what + ": another size");
  for (std::size_t i = 0; i < got.size() && i < expected.size(); ++i) {
    if (got[i] == expected[i]) continue;
    return expect(false, what + " at " + std::to_string(i) + ": " + std::to_string(got[i]) + ", expected " +
                             std::to_string(expected[i]));
  }
}

inline std::vector<float> small_integers(std::size_t count, unsigned seed = 1) {
  std::mt19937 random(seed);
  return random_floats(random, count, 0.9, true);
}

// Whether the body throws std::invalid_argument whose message contains the words.
template <class Body>
void expect_refusal(const std::string& words, Body body) {
  std::string found = "nothing";
  try {
    body();
  } catch (const std::invalid_argument& e) {
    found = e.what();
  }
  expect(found.find(words) != std::string::npos, "expected a refusal with '" + words + "', found '" + found + "'");
}

}  // namespace secateur::testing
