// A matrix times one vector, a strip of inputs at a time: they lie in registers, and what a gather would load a permutation
// picks. On Ice Lake a fifth of the cycles that an entry takes one by one, fillers included, while all of it is in the
// second-level cache; a gather instruction takes twice as many.
#pragma once

#include "lanes-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

#if SECATEUR_ISA_NUMBER == 5
constexpr std::int64_t STRIP_VECTORS = 2;
#else
constexpr std::int64_t STRIP_VECTORS = 1;
#endif

struct Strip {
  Vec v[STRIP_VECTORS];
};

inline Strip load_strip(const float* x) {
  Strip strip;
  for (std::int64_t i = 0; i < STRIP_VECTORS; ++i) strip.v[i] = load(x + i * LANES);
  return strip;
}

// Of each lane's index the lowest bits count: 5 of 32 inputs, 3 of 8.
inline Vec pick(const Strip& strip, Int index) {
#if SECATEUR_ISA_NUMBER == 5
  return {_mm512_permutex2var_ps(strip.v[0].v, index.v, strip.v[1].v)};
#elif SECATEUR_ISA_NUMBER == 2
  return {_mm256_permutevar8x32_ps(strip.v[0].v, index.v)};
#else
  Vec out;
  for (std::int64_t i = 0; i < LANES; ++i) out.v[i] = strip.v[0].v[index.v[i] & (LANES - 1)];
  return out;
#endif
}

inline Int load_int(const std::byte* p) {
  Int out;
  std::memcpy(&out, p, sizeof out);
  return out;
}

// Fillers are zeros: of an input that is not finite they would make NaN of an output it is not connected with.
template <bool PAST_FILLERS>
inline Vec add_product(const float* values, Vec x, Vec sum) {
  const Vec value = load(values);
  if constexpr (PAST_FILLERS) x = select(less(set(0.0f), absolute(value)), x, set(0.0f));
  return fma(value, x, sum);
}

// Four sums: each waits for its last product through four entries of its output.
template <bool PAST_FILLERS>
Vec strip_block(const StripLines& lines, const std::byte*& pair, const std::uint8_t* counts) {
  constexpr std::int64_t BYTES = LANES * static_cast<std::int64_t>(sizeof(float));
  Vec even = set(0.0f), odd = set(0.0f), next_even = set(0.0f), next_odd = set(0.0f);
  const float* x = lines.x;
  for (std::int64_t s = 0; s < lines.strips; ++s, x += STRIP_VECTORS * LANES) {
    const Strip strip = load_strip(x);
    for (int left = counts[s]; left > 0; --left, pair += 3 * BYTES) {
      const Int index = load_int(pair);
      const float* const values = reinterpret_cast<const float*>(pair + BYTES);
      const Vec new_even = add_product<PAST_FILLERS>(values, pick(strip, index), even);
      const Vec new_odd = add_product<PAST_FILLERS>(values + LANES, pick(strip, shift_right<8>(index)), odd);
      even = next_even, odd = next_odd;
      next_even = new_even, next_odd = new_odd;
    }
  }
  return (even + odd) + (next_even + next_odd);
}

void strip_lines(const StripLines& lines) {
  const std::byte* pair = lines.pairs;
  for (std::int64_t block = 0; block < lines.blocks; ++block) {
    const std::uint8_t* const counts = lines.counts + block * lines.strips;
    const std::byte* again = pair;
    Vec sums = strip_block<false>(lines, pair, counts);
    store(lines.sums + block * LANES, sums);
    bool any_nan = false;
    for (std::int64_t i = 0; i < LANES; ++i) any_nan |= lines.sums[block * LANES + i] != lines.sums[block * LANES + i];
    if (any_nan) store(lines.sums + block * LANES, strip_block<true>(lines, again, counts));
  }
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
