// What the tests of the weighted layers share: matrices of every layout, guarded memory, a runner, the bound.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "secateur/isa.h"
#include "secateur/matrix.h"
#include "secateur/names.h"
#include "secateur/step.h"
#include "secateur/weighted.h"

namespace secateur::testing {

inline long& failures() {
  static long count = 0;
  return count;
}

inline void expect(bool condition, const std::string& what) {
  if (condition) return;
  if (++failures() <= 20) std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

inline int report(long cases) {
  std::printf("%ld cases, %ld failures\n", cases, failures());
  return failures() == 0 && cases > 0 ? 0 : 1;
}

inline std::vector<Isa> isas() {
  std::vector<Isa> out{Isa::scalar};
  if (has_isa(Isa::avx2)) out.push_back(Isa::avx2);
  if (has_isa(Isa::avx512)) out.push_back(Isa::avx512);
  return out;
}

inline const char* name(Isa isa) { return isa == Isa::scalar ? "scalar" : isa == Isa::avx2 ? "avx2" : "avx512"; }

inline float half_to_float(std::uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const double mantissa = h & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>((h & 0x8000) != 0 ? -magnitude : magnitude);
}

// Truncation is enough for a test: the reference takes the value that was stored.
inline std::uint16_t float_to_half(float x) {
  if (x == 0.0f) return 0;
  int exponent;
  const double mantissa = std::frexp(std::fabs(static_cast<double>(x)), &exponent);
  const int sign = x < 0 ? 0x8000 : 0;
  if (exponent + 14 <= 0)
    return static_cast<std::uint16_t>(sign | static_cast<int>(std::ldexp(mantissa, exponent + 24)));
  const int bits = static_cast<int>(mantissa * 2048) - 1024;
  return static_cast<std::uint16_t>(sign | (exponent + 14) << 10 | bits);
}

inline std::uint16_t float_to_brain(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<std::uint16_t>(bits >> 16);
}

// Through two halves, not a shift: GCC 12 folds float_to_brain and a shift back to no change at all.
inline float brain_to_float(std::uint16_t b) {
  const std::uint16_t halves[2] = {0, b};
  float x;
  std::memcpy(&x, halves, sizeof x);
  return x;
}

inline float rounded(float x, ValueType type) {
  switch (type) {
    case ValueType::float16: return half_to_float(float_to_half(x));
    case ValueType::bfloat16: return brain_to_float(float_to_brain(x));
    case ValueType::float32: break;
  }
  return x;
}

// A matrix with the memory behind it, each array in an allocation of its own so that a sanitizer sees its end.
struct OwnedMatrix {
  Matrix view;
  std::vector<float> dense;  // what is stored, after rounding
  std::unique_ptr<char[]> values, indices;
  std::unique_ptr<std::uint32_t[]> starts;
};

template <class T>
std::unique_ptr<char[]> keep(const std::vector<T>& from) {
  std::unique_ptr<char[]> out(new char[from.size() * sizeof(T) + 1]);
  if (!from.empty()) std::memcpy(out.get(), from.data(), from.size() * sizeof(T));
  return out;
}

inline OwnedMatrix make_matrix(const std::vector<float>& dense, std::int64_t lines, std::int64_t length,
                               LayoutKind layout, ValueType type) {
  OwnedMatrix out;
  std::vector<float> floats;
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint16_t> positions;
  std::vector<std::uint32_t> starts{0};
  const std::int64_t mask_bytes = (length + 7) / 8;
  if (layout == LayoutKind::bitmask) bytes.resize(static_cast<std::size_t>(lines * mask_bytes));
  for (std::int64_t line = 0; line < lines; ++line) {
    std::int64_t next = 0;
    for (std::int64_t position = 0; position < length; ++position) {
      const float x = dense[static_cast<std::size_t>(line * length + position)];
      if (layout == LayoutKind::dense) {
        floats.push_back(x);
        continue;
      }
      if (x == 0.0f) continue;
      if (layout == LayoutKind::gap8) {
        for (; position - next >= 256; next += 256) {
          bytes.push_back(255);
          floats.push_back(0.0f);
        }
        bytes.push_back(static_cast<std::uint8_t>(position - next));
        next = position + 1;
      } else if (layout == LayoutKind::index16) {
        positions.push_back(static_cast<std::uint16_t>(position));
      } else {
        bytes[static_cast<std::size_t>(line * mask_bytes + position / 8)] |=
            static_cast<std::uint8_t>(1u << position % 8);
      }
      floats.push_back(x);
    }
    starts.push_back(static_cast<std::uint32_t>(floats.size()));
  }
  std::vector<std::uint16_t> halves;
  for (const float x : dense) out.dense.push_back(rounded(x, type));
  for (const float x : floats) halves.push_back(type == ValueType::float16 ? float_to_half(x) : float_to_brain(x));
  out.values = type == ValueType::float32 ? keep(floats) : keep(halves);
  out.indices = layout == LayoutKind::index16 ? keep(positions) : keep(bytes);
  out.starts.reset(new std::uint32_t[starts.size()]);
  std::copy(starts.begin(), starts.end(), out.starts.get());
  out.view = {layout,
              type,
              lines,
              length,
              static_cast<std::int64_t>(floats.size()),
              out.values.get(),
              out.indices.get(),
              out.starts.get()};
  return out;
}

// Floats with a canary before and after them.
class Guarded {
 public:
  explicit Guarded(std::size_t count) : count_(count), memory_(count + 2 * GUARD, CANARY) {}
  float* data() { return memory_.data() + GUARD; }
  std::size_t size() const { return count_; }
  bool intact() const {
    for (std::size_t i = 0; i < GUARD; ++i) {
      if (memory_[i] != CANARY || memory_[GUARD + count_ + i] != CANARY) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t GUARD = 32;
  static constexpr float CANARY = -12345.0f;
  std::size_t count_;
  std::vector<float> memory_;
};

// Runs the items in `pieces` ranges, each with scratch full of NaN that ends in a canary; with threads if asked.
inline void run_step(const Step& step, const Memory& memory, std::int64_t pieces, bool threads) {
  const std::int64_t items = step.items();
  pieces = pieces < items ? pieces : items;
  std::vector<std::thread> workers;
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    const auto work = [&step, &memory, items, pieces, piece] {
      const std::size_t bytes = step.scratch_bytes();
      std::byte* const scratch = static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 64 + 63) / 64 * 64));
      std::memset(scratch, 0xFF, bytes + 64);
      step.run(items * piece / pieces, items * (piece + 1) / pieces, memory, scratch);
      for (std::size_t i = 0; i < 64; ++i) expect(scratch[bytes + i] == std::byte{0xFF}, "scratch overrun");
      std::free(scratch);
    };
    if (threads) {
      workers.emplace_back(work);
    } else {
      work();
    }
  }
  for (std::thread& worker : workers) worker.join();
}

// Integers are of up to `most`, either sign.
inline std::vector<float> random_floats(std::mt19937& random, std::size_t count, double density, bool integers,
                                        int most = 3) {
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  std::normal_distribution<float> normal;
  const unsigned choices = 2 * static_cast<unsigned>(most) + 1;
  std::vector<float> out(count, 0.0f);
  for (float& x : out) {
    if (uniform(random) >= density) continue;
    x = integers ? static_cast<float>(static_cast<int>(random() % choices) - most) : normal(random);
  }
  return out;
}

// |computed - exact| <= 2 (terms + 4) eps (|W| |x|): one rounding a term, in any order, and those of bias and residual.
inline constexpr ConvolutionKernel CONVOLUTION_KERNELS[] = {
    ConvolutionKernel::sparse_columns, ConvolutionKernel::sparse_images, ConvolutionKernel::panel_columns,
    ConvolutionKernel::panel_images,   ConvolutionKernel::depthwise,     ConvolutionKernel::winograd,
    ConvolutionKernel::winograd4,      ConvolutionKernel::sparse_columns_256, ConvolutionKernel::sparse_images_256,
    ConvolutionKernel::panel_columns_256, ConvolutionKernel::panel_images_256, ConvolutionKernel::winograd_256,
    ConvolutionKernel::winograd4_256, ConvolutionKernel::winograd4_streamed};

inline bool within_bound(float computed, double exact, double magnitude, double terms) {
  return std::fabs(static_cast<double>(computed) - exact) <= 2.0 * (terms + 4.0) * 0x1p-24 * magnitude + 1e-37;
}

}  // namespace secateur::testing
