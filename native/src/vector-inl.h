// A vector of floats of one instruction set, and what can be done with it.
//
// Included by the files of src/<isa>/ alone, after `#define SECATEUR_ISA <isa>`. All of it is in an unnamed namespace:
// a function with external linkage, compiled with one file's flags, could be the one the linker keeps for all.
#pragma once

#include <cstdint>
#include <cstring>

#ifndef SECATEUR_ISA
#error "define SECATEUR_ISA as scalar, avx2 or avx512 first"
#endif
#define SECATEUR_NUMBER_scalar 0
#define SECATEUR_NUMBER_avx2 2
#define SECATEUR_NUMBER_avx512 5
#define SECATEUR_GLUE(a, b) a##b
#define SECATEUR_NUMBER_OF(isa) SECATEUR_GLUE(SECATEUR_NUMBER_, isa)
#define SECATEUR_ISA_NUMBER SECATEUR_NUMBER_OF(SECATEUR_ISA)

#if SECATEUR_ISA_NUMBER != 0
#include <immintrin.h>
#endif

namespace secateur::SECATEUR_ISA {
namespace {

#if SECATEUR_ISA_NUMBER == 0

constexpr std::int64_t LANES = 8;

struct Vec {
  float v[LANES];
};
struct Int {
  std::int32_t v[LANES];
};
struct Mask {
  bool v[LANES];
};

#define SECATEUR_LANEWISE(Type, expression)                       \
  Type result;                                                    \
  for (std::int64_t i = 0; i < LANES; ++i) result.v[i] = expression; \
  return result

inline Vec set(float x) { SECATEUR_LANEWISE(Vec, x); }
inline Vec load(const float* p) { SECATEUR_LANEWISE(Vec, p[i]); }
inline Vec load_part(const float* p, std::int64_t n) { SECATEUR_LANEWISE(Vec, i < n ? p[i] : 0.0f); }
inline void store(float* p, Vec x) { std::memcpy(p, x.v, sizeof x.v); }
inline void store_part(float* p, std::int64_t n, Vec x) {
  for (std::int64_t i = 0; i < n; ++i) p[i] = x.v[i];
}
// p[0], p[2], p[4], ...: reads 2 LANES - 1 numbers.
inline Vec load_even(const float* p) { SECATEUR_LANEWISE(Vec, p[2 * i]); }

inline Vec operator+(Vec a, Vec b) { SECATEUR_LANEWISE(Vec, a.v[i] + b.v[i]); }
inline Vec operator-(Vec a, Vec b) { SECATEUR_LANEWISE(Vec, a.v[i] - b.v[i]); }
inline Vec operator*(Vec a, Vec b) { SECATEUR_LANEWISE(Vec, a.v[i] * b.v[i]); }
inline Vec operator/(Vec a, Vec b) { SECATEUR_LANEWISE(Vec, a.v[i] / b.v[i]); }
inline Vec fma(Vec a, Vec b, Vec c) { SECATEUR_LANEWISE(Vec, __builtin_fmaf(a.v[i], b.v[i], c.v[i])); }
inline Vec sqrt(Vec a) { SECATEUR_LANEWISE(Vec, __builtin_sqrtf(a.v[i])); }
inline Vec min(Vec a, Vec b) { SECATEUR_LANEWISE(Vec, a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
inline Vec max(Vec a, Vec b) { SECATEUR_LANEWISE(Vec, a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }

inline Mask less(Vec a, Vec b) { SECATEUR_LANEWISE(Mask, a.v[i] < b.v[i]); }
inline Mask unordered(Vec a) { SECATEUR_LANEWISE(Mask, a.v[i] != a.v[i]); }
inline Vec select(Mask m, Vec a, Vec b) { SECATEUR_LANEWISE(Vec, m.v[i] ? a.v[i] : b.v[i]); }

inline Int set_int(std::int32_t x) { SECATEUR_LANEWISE(Int, x); }
inline Int bits(Vec a) {
  Int result;
  std::memcpy(result.v, a.v, sizeof a.v);
  return result;
}
inline Vec from_bits(Int a) {
  Vec result;
  std::memcpy(result.v, a.v, sizeof a.v);
  return result;
}
inline std::int32_t wrap(std::uint32_t x) { return static_cast<std::int32_t>(x); }
inline std::uint32_t plain(std::int32_t x) { return static_cast<std::uint32_t>(x); }
inline Int operator+(Int a, Int b) { SECATEUR_LANEWISE(Int, wrap(plain(a.v[i]) + plain(b.v[i]))); }
inline Int operator-(Int a, Int b) { SECATEUR_LANEWISE(Int, wrap(plain(a.v[i]) - plain(b.v[i]))); }
inline Int operator&(Int a, Int b) { SECATEUR_LANEWISE(Int, a.v[i] & b.v[i]); }
inline Int operator|(Int a, Int b) { SECATEUR_LANEWISE(Int, a.v[i] | b.v[i]); }
inline Int operator^(Int a, Int b) { SECATEUR_LANEWISE(Int, a.v[i] ^ b.v[i]); }
template <int N>
inline Int shift_left(Int a) {
  SECATEUR_LANEWISE(Int, wrap(plain(a.v[i]) << N));
}
template <int N>
inline Int shift_right(Int a) {
  SECATEUR_LANEWISE(Int, a.v[i] >> N);
}
#undef SECATEUR_LANEWISE

inline float sum(Vec a) {
  return ((a.v[0] + a.v[4]) + (a.v[2] + a.v[6])) + ((a.v[1] + a.v[5]) + (a.v[3] + a.v[7]));
}

#elif SECATEUR_ISA_NUMBER == 2

constexpr std::int64_t LANES = 8;

struct Vec {
  __m256 v;
};
struct Int {
  __m256i v;
};
struct Mask {
  __m256 v;
};

// All bits set in the first n lanes.
inline __m256i first(std::int64_t n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes);
}

inline Vec set(float x) { return {_mm256_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline Vec load_part(const float* p, std::int64_t n) { return {_mm256_maskload_ps(p, first(n))}; }
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x.v); }
// In powers of two, for n below LANES: a masked store is microcode on AMD's processors, slower than a row's arithmetic.
inline void store_part(float* p, std::int64_t n, Vec x) {
  if (n >= LANES) return store(p, x);
  __m128 rest = _mm256_castps256_ps128(x.v);
  if ((n & 4) != 0) {
    _mm_storeu_ps(p, rest);
    rest = _mm256_extractf128_ps(x.v, 1);
    p += 4;
  }
  if ((n & 2) != 0) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
    rest = _mm_movehl_ps(rest, rest);
    p += 2;
  }
  if ((n & 1) != 0) _mm_store_ss(p, rest);
}
// p[0], p[2], p[4], ...: reads 2 LANES - 1 numbers.
inline Vec load_even(const float* p) {
  // The second load starts one early, so as not to read past the last number needed.
  const __m256 low = _mm256_loadu_ps(p);
  const __m256 high = _mm256_loadu_ps(p + LANES - 1);
  const __m256 mixed = _mm256_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 2, 0));
  return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), _MM_SHUFFLE(3, 1, 2, 0)))};
}

inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec sqrt(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }

inline Mask less(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
inline Mask unordered(Vec a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
inline Vec select(Mask m, Vec a, Vec b) { return {_mm256_blendv_ps(b.v, a.v, m.v)}; }

inline Int set_int(std::int32_t x) { return {_mm256_set1_epi32(x)}; }
inline Int bits(Vec a) { return {_mm256_castps_si256(a.v)}; }
inline Vec from_bits(Int a) { return {_mm256_castsi256_ps(a.v)}; }
inline Int operator+(Int a, Int b) { return {_mm256_add_epi32(a.v, b.v)}; }
inline Int operator-(Int a, Int b) { return {_mm256_sub_epi32(a.v, b.v)}; }
inline Int operator&(Int a, Int b) { return {_mm256_and_si256(a.v, b.v)}; }
inline Int operator|(Int a, Int b) { return {_mm256_or_si256(a.v, b.v)}; }
inline Int operator^(Int a, Int b) { return {_mm256_xor_si256(a.v, b.v)}; }
template <int N>
inline Int shift_left(Int a) {
  return {_mm256_slli_epi32(a.v, N)};
}
template <int N>
inline Int shift_right(Int a) {
  return {_mm256_srai_epi32(a.v, N)};
}

inline float sum(Vec a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#else

constexpr std::int64_t LANES = 16;

struct Vec {
  __m512 v;
};
struct Int {
  __m512i v;
};
struct Mask {
  __mmask16 v;
};

// A bit set for each of the first n lanes.
inline __mmask16 first(std::int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }

inline Vec set(float x) { return {_mm512_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline Vec load_part(const float* p, std::int64_t n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x.v); }
inline void store_part(float* p, std::int64_t n, Vec x) { _mm512_mask_storeu_ps(p, first(n), x.v); }
// p[0], p[2], p[4], ...: reads 2 LANES - 1 numbers.
inline Vec load_even(const float* p) {
  // The second load starts one early, so as not to read past the last number needed.
  const __m512i pick = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
  return {_mm512_permutex2var_ps(_mm512_loadu_ps(p), pick, _mm512_loadu_ps(p + LANES - 1))};
}

inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec sqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }

inline Mask less(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline Mask unordered(Vec a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
inline Vec select(Mask m, Vec a, Vec b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }

inline Int set_int(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
inline Int bits(Vec a) { return {_mm512_castps_si512(a.v)}; }
inline Vec from_bits(Int a) { return {_mm512_castsi512_ps(a.v)}; }
inline Int operator+(Int a, Int b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Int operator-(Int a, Int b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline Int operator&(Int a, Int b) { return {_mm512_and_si512(a.v, b.v)}; }
inline Int operator|(Int a, Int b) { return {_mm512_or_si512(a.v, b.v)}; }
inline Int operator^(Int a, Int b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int N>
inline Int shift_left(Int a) {
  return {_mm512_slli_epi32(a.v, N)};
}
template <int N>
inline Int shift_right(Int a) {
  return {_mm512_srai_epi32(a.v, N)};
}

inline float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }

#endif

// Where a and b are equal or one is no number, min and max give b: max(zero, x) keeps a NaN in x.

inline Vec absolute(Vec a) { return from_bits(bits(a) & set_int(0x7fffffff)); }
inline Vec negative(Vec a) { return from_bits(bits(a) ^ set_int(INT32_MIN)); }
// The magnitude of a under the sign of b.
inline Vec with_sign(Vec a, Vec b) {
  return from_bits((bits(a) & set_int(0x7fffffff)) | (bits(b) & set_int(INT32_MIN)));
}
// The smaller and the larger number; NaN if either is, as NumPy has it.
inline Vec minimum(Vec a, Vec b) { return select(unordered(a), a, min(a, b)); }
inline Vec maximum(Vec a, Vec b) { return select(unordered(a), a, max(a, b)); }

}  // namespace
}  // namespace secateur::SECATEUR_ISA
