// What the weighted layers need of vectors beyond vector-inl.h: half numbers, transposition, the sizes of tiles.
#pragma once

#include "vector-inl.h"

// Loops over registers must be unrolled or the registers become memory; without registers it only costs compile time.
#if SECATEUR_ISA_NUMBER == 0
#define SECATEUR_UNROLL
#else
#define SECATEUR_UNROLL _Pragma("GCC unroll 32")
#endif

namespace secateur::SECATEUR_ISA {
namespace {

#if SECATEUR_ISA_NUMBER == 0

inline Vec broadcast(const float* p) { return set(*p); }

constexpr int MAX_TILE = 14;
constexpr int PANEL_CHANNELS = 8;
constexpr int PANEL_PIXELS = 2;

// Eights, and fours, of a vector to places a step apart.
inline void store_eights(float* p, std::int64_t, Vec x) { std::memcpy(p, x.v, sizeof x.v); }
inline void store_fours(float* p, std::int64_t step, Vec x) {
  std::memcpy(p, x.v, sizeof x.v / 2);
  std::memcpy(p + step, x.v + 4, sizeof x.v / 2);
}

inline float float_of_bits(std::uint32_t bits) {
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}
inline float float_of_half(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7FFFu;
  if (magnitude >= 0x7C00u) return float_of_bits(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
  // As a float its exponent is too small by 112: one product puts that right, subnormals included.
  const float out = float_of_bits(magnitude << 13) * float_of_bits(0x77800000u);
  return sign != 0 ? -out : out;
}
inline Vec widen_half(const std::uint16_t* p) {
  Vec out;
  for (std::int64_t i = 0; i < LANES; ++i) out.v[i] = float_of_half(p[i]);
  return out;
}
inline Vec widen_brain(const std::uint16_t* p) {
  Vec out;
  for (std::int64_t i = 0; i < LANES; ++i) out.v[i] = float_of_bits(static_cast<std::uint32_t>(p[i]) << 16);
  return out;
}

// Where the lanes are whose bits are set.
struct Spread {
  std::uint32_t bits;
};
inline Spread spread_to(std::uint32_t bits) { return {bits}; }
// The first floats of `packed`, in their order, in the lanes of set bits; zero in the others.
inline Vec expand(Spread spread, Vec packed) {
  Vec out{};
  std::int64_t next = 0;
  for (std::int64_t i = 0; i < LANES; ++i) {
    if ((spread.bits >> i & 1u) != 0) out.v[i] = packed.v[next++];
  }
  return out;
}
// a b + c in the lanes of set bits, c in the others.
inline Vec fma_where(Spread spread, Vec a, Vec b, Vec c) {
  for (std::int64_t i = 0; i < LANES; ++i) {
    if ((spread.bits >> i & 1u) != 0) c.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
  }
  return c;
}

// Eight floats, whatever the width of a vector: transpositions go in blocks of eight.
using Eight = Vec;

inline Eight zero_eight() { return set(0.0f); }
inline Eight load_eight(const float* p) { return load(p); }
// Which of eight floats are read; the others are zero, and their memory is not touched.
struct EightMask {
  std::int64_t begin, end;
};
inline EightMask eight_mask(std::int64_t begin, std::int64_t end) { return {begin, end}; }
inline Eight load_eight(const float* p, EightMask mask) {
  Eight out;
  for (std::int64_t i = 0; i < LANES; ++i) out.v[i] = mask.begin <= i && i < mask.end ? p[i] : 0.0f;
  return out;
}
inline void store_eight(float* p, Eight x) { store(p, x); }
inline void transpose(Eight (&r)[8]) {
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < i; ++j) {
      const float kept = r[i].v[j];
      r[i].v[j] = r[j].v[i];
      r[j].v[i] = kept;
    }
  }
}

// From a, b, c, d, a, b, c, d, ... over as many vectors to vectors of a, of b, ..., and back. The numbers of a vector are
// in the order that transposing fours gives: whoever goes back gets what was there before.
template <int N>
inline void deinterleave(Vec (&r)[N]) {
  Vec out[N];
  for (std::int64_t i = 0; i < N * LANES; ++i) {
    const std::int64_t four = i % LANES / 4 * 4;
    const std::int64_t within = i / LANES * 4 + i % 4;
    out[within % N].v[four + within / N] = r[i / LANES].v[i % LANES];
  }
  for (int k = 0; k < N; ++k) r[k] = out[k];
}
// Of four that were deinterleaved.
inline Vec in_order(Vec a) {
  Vec out;
  for (std::int64_t i = 0; i < LANES; ++i) out.v[i] = a.v[i % (LANES / 4) * 4 + i / (LANES / 4)];
  return out;
}
template <int N>
inline void interleave(Vec (&r)[N]) {
  Vec out[N];
  for (std::int64_t i = 0; i < N * LANES; ++i) {
    const std::int64_t four = i % LANES / 4 * 4;
    const std::int64_t within = i / LANES * 4 + i % 4;
    out[i / LANES].v[i % LANES] = r[within % N].v[four + within / N];
  }
  for (int k = 0; k < N; ++k) r[k] = out[k];
}

#else

#if SECATEUR_ISA_NUMBER == 2

inline Vec broadcast(const float* p) { return set(*p); }

constexpr int MAX_TILE = 14;  // 16 registers: 14 sums and the weight
constexpr int PANEL_CHANNELS = 6;
constexpr int PANEL_PIXELS = 2;

inline void store_eights(float* p, std::int64_t, Vec x) { store(p, x); }
inline void store_fours(float* p, std::int64_t step, Vec x) {
  _mm_storeu_ps(p, _mm256_castps256_ps128(x.v));
  _mm_storeu_ps(p + step, _mm256_extractf128_ps(x.v, 1));
}

// Of each byte of bits, eight bytes: for a set bit which of the packed floats it takes, negative as a sign of it.
struct Spreads {
  std::uint8_t of[256][8];
};
constexpr Spreads list_spreads() {
  Spreads spreads{};
  for (unsigned bits = 0; bits < 256; ++bits) {
    std::uint8_t next = 0;
    for (unsigned i = 0; i < 8; ++i) {
      if ((bits >> i & 1u) != 0) spreads.of[bits][i] = static_cast<std::uint8_t>(0x80u | next++);
    }
  }
  return spreads;
}
constexpr Spreads SPREADS = list_spreads();

struct Spread {
  __m256i lanes;
};
inline Spread spread_to(std::uint32_t bits) {
  return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(SPREADS.of[bits])))};
}
// The first floats of `packed`, in their order, in the lanes of set bits; zero in the others.
inline Vec expand(Spread spread, Vec packed) {
  const __m256 moved = _mm256_permutevar8x32_ps(packed.v, spread.lanes);
  return {_mm256_blendv_ps(_mm256_setzero_ps(), moved, _mm256_castsi256_ps(spread.lanes))};
}
// a b + c in the lanes of set bits, c in the others.
inline Vec fma_where(Spread spread, Vec a, Vec b, Vec c) {
  return {_mm256_blendv_ps(c.v, _mm256_fmadd_ps(a.v, b.v, c.v), _mm256_castsi256_ps(spread.lanes))};
}

inline Vec widen_half(const std::uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline Vec widen_brain(const std::uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}
// Of four that were deinterleaved.
inline Vec in_order(Vec a) { return {_mm256_permutevar8x32_ps(a.v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))}; }
inline Vec low_pairs(Vec a, Vec b) { return {_mm256_unpacklo_ps(a.v, b.v)}; }
inline Vec high_pairs(Vec a, Vec b) { return {_mm256_unpackhi_ps(a.v, b.v)}; }
template <int PICK>
inline Vec pick(Vec a, Vec b) {
  return {_mm256_shuffle_ps(a.v, b.v, PICK)};
}

#else

// From a register, between two products: from memory it takes as long as loading a vector, and of those Ice Lake does one
// a cycle. (In assembly, as the compiler would put the two together again. Tiles of two vectors gain 9 %, of sixteen 2 %.)
inline Vec broadcast(const float* p) {
  Vec out;
  asm("vbroadcastss %1, %0" : "=v"(out.v) : "v"(_mm_load_ss(p)));
  return out;
}

constexpr int MAX_TILE = 28;  // 32 registers: 28 sums, the weight, and three for the compiler
constexpr int PANEL_CHANNELS = 8;
constexpr int PANEL_PIXELS = 3;

// Eights, and fours, of a vector to places a step apart.
inline void store_eights(float* p, std::int64_t step, Vec x) {
  _mm256_storeu_ps(p, _mm512_castps512_ps256(x.v));
  _mm256_storeu_ps(p + step, _mm512_extractf32x8_ps(x.v, 1));
}
inline void store_fours(float* p, std::int64_t step, Vec x) {
  _mm_storeu_ps(p, _mm512_castps512_ps128(x.v));
  _mm_storeu_ps(p + step, _mm512_extractf32x4_ps(x.v, 1));
  _mm_storeu_ps(p + 2 * step, _mm512_extractf32x4_ps(x.v, 2));
  _mm_storeu_ps(p + 3 * step, _mm512_extractf32x4_ps(x.v, 3));
}

struct Spread {
  __mmask16 lanes;
};
inline Spread spread_to(std::uint32_t bits) { return {static_cast<__mmask16>(bits)}; }
// a b + c in the lanes of set bits, c in the others.
inline Vec fma_where(Spread spread, Vec a, Vec b, Vec c) {
  return {_mm512_mask3_fmadd_ps(a.v, b.v, c.v, spread.lanes)};
}

inline Vec widen_half(const std::uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline Vec widen_brain(const std::uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
// Of four that were deinterleaved.
inline Vec in_order(Vec a) {
  return {_mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), a.v)};
}
inline Vec low_pairs(Vec a, Vec b) { return {_mm512_unpacklo_ps(a.v, b.v)}; }
inline Vec high_pairs(Vec a, Vec b) { return {_mm512_unpackhi_ps(a.v, b.v)}; }
template <int PICK>
inline Vec pick(Vec a, Vec b) {
  return {_mm512_shuffle_ps(a.v, b.v, PICK)};
}

#endif

// As in the portable code above, within 128 bits.
inline void deinterleave(Vec (&r)[2]) {
  const Vec even = pick<0x88>(r[0], r[1]);
  r[1] = pick<0xDD>(r[0], r[1]);
  r[0] = even;
}
inline void interleave(Vec (&r)[2]) {
  const Vec low = low_pairs(r[0], r[1]);
  r[1] = high_pairs(r[0], r[1]);
  r[0] = low;
}
inline void deinterleave(Vec (&r)[4]) {
  const Vec a = low_pairs(r[0], r[1]);
  const Vec b = high_pairs(r[0], r[1]);
  const Vec c = low_pairs(r[2], r[3]);
  const Vec d = high_pairs(r[2], r[3]);
  r[0] = pick<0x44>(a, c), r[1] = pick<0xEE>(a, c), r[2] = pick<0x44>(b, d), r[3] = pick<0xEE>(b, d);
}
inline void interleave(Vec (&r)[4]) { deinterleave(r); }

// Eight floats, whatever the width of a vector: transpositions go in blocks of eight.
#if SECATEUR_ISA_NUMBER == 2
using Eight = Vec;
#else
struct Eight {
  __m256 v;
};
#endif

inline Eight zero_eight() { return {_mm256_setzero_ps()}; }
inline Eight load_eight(const float* p) { return {_mm256_loadu_ps(p)}; }
// Which of eight floats are read; the others are zero, and their memory is not touched.
struct EightMask {
  __m256i v;
};
inline EightMask eight_mask(std::int64_t begin, std::int64_t end) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i low = _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(static_cast<int>(begin) - 1));
  const __m256i high = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(end)), lane);
  return {_mm256_and_si256(low, high)};
}
inline Eight load_eight(const float* p, EightMask mask) { return {_mm256_maskload_ps(p, mask.v)}; }
inline void store_eight(float* p, Eight x) { _mm256_storeu_ps(p, x.v); }
#if SECATEUR_ISA_NUMBER == 5
// As the first numbers of a vector, and back.
inline Vec widened(Eight x) { return {_mm512_zextps256_ps512(x.v)}; }
inline Eight low_eight(Vec x) { return {_mm512_castps512_ps256(x.v)}; }
// Arithmetic in 512 bits would close a port to the shuffles of a transposition.
inline Eight operator+(Eight a, Eight b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Eight min(Eight a, Eight b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Eight max(Eight a, Eight b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Eight fma(Eight a, Eight b, Eight c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline float sum(Eight a) {
  const __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 pairs = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)));
}
inline Eight load_first_of_eight(const float* p, std::int64_t n) {
  return {_mm256_maskz_loadu_ps(static_cast<__mmask8>(first(n)), p)};
}
inline void store_part(float* p, std::int64_t n, Eight x) { _mm256_mask_storeu_ps(p, static_cast<__mmask8>(first(n)), x.v); }
inline Eight widen_eight_halves(const std::uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline Eight widen_eight_brains(const std::uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}

// Of each byte of bits, for a set bit which of the packed floats it takes, else 8: zero. With a vector of zeros behind the
// packed ones two permutations of eight take 1.2 ns on Zen 4, where its own expansion of sixteen takes 1.7. (Bytes that are
// widened take 1.0, but twice as much of the one port that Intel's processors have for it.)
struct EightSpreads {
  alignas(32) std::int32_t of[256][8];
};
constexpr EightSpreads list_eight_spreads() {
  EightSpreads spreads{};
  for (unsigned bits = 0; bits < 256; ++bits) {
    std::int32_t next = 0;
    for (unsigned i = 0; i < 8; ++i) spreads.of[bits][i] = (bits >> i & 1u) != 0 ? next++ : 8;
  }
  return spreads;
}
constexpr EightSpreads EIGHT_SPREADS = list_eight_spreads();

struct EightSpread {
  __m256i lanes;
};
inline EightSpread spread_eight_to(std::uint32_t bits) {
  return {_mm256_load_si256(reinterpret_cast<const __m256i*>(EIGHT_SPREADS.of[bits]))};
}
// The first floats of `packed`, in their order, in the lanes of set bits; zero in the others.
inline Eight expand(EightSpread spread, Eight packed) {
  return {_mm256_permutex2var_ps(packed.v, spread.lanes, _mm256_setzero_ps())};
}
// a b + c in the lanes of set bits, c in the others.
inline Eight fma_where(EightSpread spread, Eight a, Eight b, Eight c) {
  return {_mm256_mask3_fmadd_ps(a.v, b.v, c.v, _mm256_cmplt_epi32_mask(spread.lanes, _mm256_set1_epi32(8)))};
}
#endif
inline void transpose(Eight (&r)[8]) {
  __m256 a[8];
  __m256 b[8];
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm256_unpacklo_ps(r[2 * i].v, r[2 * i + 1].v);
    a[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i].v, r[2 * i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xEE);
    b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    r[i].v = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    r[i + 4].v = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}

#endif

#if SECATEUR_ISA_NUMBER != 5
// Their vectors are eights.
inline Vec widened(Eight x) { return x; }
inline Eight low_eight(Vec x) { return x; }
inline Eight load_first_of_eight(const float* p, std::int64_t n) { return load_part(p, n); }
inline Eight widen_eight_halves(const std::uint16_t* p) { return widen_half(p); }
inline Eight widen_eight_brains(const std::uint16_t* p) { return widen_brain(p); }
using EightSpread = Spread;
inline EightSpread spread_eight_to(std::uint32_t bits) { return spread_to(bits); }
#endif

}  // namespace
}  // namespace secateur::SECATEUR_ISA
