// A matrix times a few vectors, a strip of inputs at a time: they lie in registers, and what a gather would load a
// permutation picks. On Zen 4, in the caches, six tenths of a cycle an entry where 5 % of the weights are left, a third at
// 20 %; one by one takes more than a cycle. (Filling every output up to the entries of the fullest took as long and three
// times the memory; two steps at a time were slower.)
#pragma once

#include "lanes-inl.h"
#include "matrix_lines-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

#if SECATEUR_ISA_NUMBER == 5
constexpr std::int64_t STRIP_VECTORS = 2;
#else
constexpr std::int64_t STRIP_VECTORS = 1;
#endif
constexpr std::int64_t STRIP = STRIP_VECTORS * LANES;

struct Strip {
  Vec v[STRIP_VECTORS];
};

inline Strip load_strip(const float* x) {
  Strip strip;
  for (std::int64_t i = 0; i < STRIP_VECTORS; ++i) strip.v[i] = load(x + i * LANES);
  return strip;
}

// Bytes, one a lane.
inline Int load_bytes(const std::uint8_t* p) {
#if SECATEUR_ISA_NUMBER == 5
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
#elif SECATEUR_ISA_NUMBER == 2
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
#else
  Int out;
  for (std::int64_t i = 0; i < LANES; ++i) out.v[i] = p[i];
  return out;
#endif
}

// Lane i takes x[place[i]].
inline Vec permute(Vec x, Int place) {
#if SECATEUR_ISA_NUMBER == 5
  return {_mm512_permutexvar_ps(place.v, x.v)};
#elif SECATEUR_ISA_NUMBER == 2
  return {_mm256_permutevar8x32_ps(x.v, place.v)};
#else
  Vec out;
  for (std::int64_t i = 0; i < LANES; ++i) out.v[i] = x.v[place.v[i] & (LANES - 1)];
  return out;
#endif
}

// The same of a strip: of each lane's index the lowest bits count, 5 of 32 inputs, 3 of 8.
inline Vec pick(const Strip& strip, Int index) {
#if SECATEUR_ISA_NUMBER == 5
  return {_mm512_permutex2var_ps(strip.v[0].v, index.v, strip.v[1].v)};
#else
  return permute(strip.v[0], index);
#endif
}

// As many as there are lanes, of which the last of a line may lie beyond it.
inline Strip load_strip(const float* x, std::int64_t left) {
  Strip strip;
  for (std::int64_t i = 0; i < STRIP_VECTORS; ++i, left -= LANES) {
    strip.v[i] = left >= LANES ? load(x + i * LANES) : left > 0 ? load_part(x + i * LANES, left) : set(0.0f);
  }
  return strip;
}

template <ValueType TYPE, int ROWS>
void strip_rows(const StripLines& lines, std::int64_t row) {
  const std::uint8_t* widths = lines.widths;
  const std::uint8_t* counts = lines.counts;
  const std::uint8_t* places = lines.places;
  const float* const x = lines.x + row * lines.length;
  std::int64_t entry = 0;
  const auto take = [&](const Strip (&inputs)[ROWS], Vec (&sums)[ROWS]) {
    Vec parts[ROWS];
    for (int r = 0; r < ROWS; ++r) parts[r] = set(0.0f);
    const std::uint8_t* const end = widths + *counts++;
    for (; widths < end; ++widths) {
      const Spread first = spread_to((1u << *widths) - 1u);
      const Int index = load_bytes(lines.indices + entry);
      const Vec values = load_values<TYPE>(lines.values, entry);
      SECATEUR_UNROLL
      for (int r = 0; r < ROWS; ++r) parts[r] = fma_where(first, values, pick(inputs[r], index), parts[r]);
      entry += *widths;
    }
    const Int place = load_bytes(places);
    places += LANES;
    for (int r = 0; r < ROWS; ++r) sums[r] = sums[r] + permute(parts[r], place);
  };
  for (std::int64_t block = 0; block < lines.blocks; ++block) {
    Vec sums[ROWS];
    for (int r = 0; r < ROWS; ++r) sums[r] = set(0.0f);
    Strip inputs[ROWS];
    std::int64_t i = 0;
    for (; i + STRIP <= lines.length; i += STRIP) {
      for (int r = 0; r < ROWS; ++r) inputs[r] = load_strip(x + r * lines.length + i);
      take(inputs, sums);
    }
    if (i < lines.length) {
      for (int r = 0; r < ROWS; ++r) inputs[r] = load_strip(x + r * lines.length + i, lines.length - i);
      take(inputs, sums);
    }
    for (int r = 0; r < ROWS; ++r) store(lines.sums + ((row + r) * lines.blocks + block) * LANES, sums[r]);
  }
}

// Rows of a batch share what says where their inputs are.
void strip_lines(const StripLines& lines) {
  of_type(lines.type, [&](auto type) {
    std::int64_t row = 0;
    for (; row + 4 <= lines.rows; row += 4) strip_rows<type(), 4>(lines, row);
    if (row + 2 <= lines.rows) {
      strip_rows<type(), 2>(lines, row);
      row += 2;
    }
    if (row < lines.rows) strip_rows<type(), 1>(lines, row);
  });
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
