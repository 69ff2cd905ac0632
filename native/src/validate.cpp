#include "validate.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "sizes.h"

namespace secateur {
namespace {

// The bits of a number, so that -0 and NaN can be told apart and nothing is converted.
std::uint32_t value_bits(const Matrix& m, std::int64_t entry) {
  if (m.type == ValueType::float32) return static_cast<const std::uint32_t*>(m.values)[entry];
  return static_cast<const std::uint16_t*>(m.values)[entry];
}

std::uint32_t sign_bit(ValueType type) { return type == ValueType::float32 ? 0x80000000u : 0x8000u; }

float from_half(std::uint32_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fu;
  const std::uint32_t mantissa = half & 0x3ffu;
  std::uint32_t single = 0;
  if (exponent == 0) {
    const float small = static_cast<float>(mantissa) * 0x1p-24f;
    std::memcpy(&single, &small, sizeof single);
  } else if (exponent == 31) {
    single = 0x7f800000u | mantissa << 13;
  } else {
    single = (exponent + 112) << 23 | mantissa << 13;
  }
  single |= sign;
  float value = 0;
  std::memcpy(&value, &single, sizeof value);
  return value;
}

float value_at(const Matrix& m, std::int64_t entry) {
  const std::uint32_t bits = value_bits(m, entry);
  if (m.type == ValueType::float16) return from_half(bits);
  const std::uint32_t single = m.type == ValueType::float32 ? bits : bits << 16;
  float value = 0;
  std::memcpy(&value, &single, sizeof value);
  return value;
}

std::string where(std::int64_t line, std::int64_t entry) {
  return "line " + std::to_string(line) + ", entry " + std::to_string(entry);
}

void expect_count(const char* what, std::int64_t expected, std::int64_t found) {
  require(expected == found, std::string(what) + ": expected " + std::to_string(expected) + " elements, found " +
                                 std::to_string(found));
}

void expect_aligned(const char* what, const void* data, std::size_t size) {
  require(reinterpret_cast<std::uintptr_t>(data) % size == 0,
          std::string(what) + ": expected memory aligned to " + std::to_string(size) + " bytes");
}

// Whether some value is zero. Found in a number as wide as a value, since the compiler vectorises no bool.
template <class Bits>
bool any_zero(const Bits* values, std::int64_t count) {
  Bits zeros = 0;
  for (std::int64_t i = 0; i < count; ++i) zeros |= static_cast<Bits>(static_cast<Bits>(values[i] << 1) == 0);
  return zeros != 0;
}

void expect_no_zeros(const Matrix& m) {
  const bool found = m.type == ValueType::float32
                         ? any_zero(static_cast<const std::uint32_t*>(m.values), m.entries)
                         : any_zero(static_cast<const std::uint16_t*>(m.values), m.entries);
  if (!found) return;
  for (std::int64_t e = 0; e < m.entries; ++e) {
    require((value_bits(m, e) & ~sign_bit(m.type)) != 0,
            "entry " + std::to_string(e) + ": expected a value that is not zero, found zero");
  }
}

std::uint64_t ones(std::uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return (x * 0x0101010101010101u) >> 56;
}

std::int64_t count_bits(const std::uint8_t* bytes, std::int64_t count) {
  std::uint64_t total = 0;
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + i, sizeof word);
    total += ones(word);
  }
  for (; i < count; ++i) total += ones(bytes[i]);
  return static_cast<std::int64_t>(total);
}

void validate_bitmask(const Matrix& m, const MatrixArrays& arrays) {
  const std::int64_t pitch = (m.length + 7) / 8;
  expect_count("mask", m.lines * pitch, arrays.indices);
  const auto* mask = static_cast<const std::uint8_t*>(m.indices);
  if (m.length % 8 != 0) {
    for (std::int64_t line = 0; line < m.lines; ++line) {
      require_said(mask[line * pitch + pitch - 1] >> (m.length % 8) == 0, [&] {
        return "line " + std::to_string(line) + ": expected no bits beyond position " + std::to_string(m.length - 1) +
               ", found some";
      });
    }
  }
  const std::int64_t set = count_bits(mask, m.lines * pitch);
  require(set == m.entries, "mask: expected one bit for each of " + std::to_string(m.entries) + " values, found " +
                                std::to_string(set) + " bits");
  expect_no_zeros(m);
}

void validate_starts(const Matrix& m, const MatrixArrays& arrays) {
  expect_count("starts", m.lines + 1, arrays.starts);
  expect_aligned("starts", m.starts, sizeof *m.starts);
  require(m.starts[0] == 0, "starts: expected to begin with 0, found " + std::to_string(m.starts[0]));
  for (std::int64_t line = 0; line < m.lines; ++line) {
    require_said(m.starts[line] <= m.starts[line + 1], [&] {
      return "line " + std::to_string(line) + ": expected a start of at least " + std::to_string(m.starts[line]) +
             " after it, found " + std::to_string(m.starts[line + 1]);
    });
  }
  require(m.starts[m.lines] == m.entries, "starts: expected to end with " + std::to_string(m.entries) + ", found " +
                                              std::to_string(m.starts[m.lines]));
}

// A zero is a filler, and that is +0 after 255 zeros. Most pieces have none, which is four times as fast to see.
template <class Bits>
bool any_bad_filler(const Bits* values, const std::uint8_t* gaps, std::int64_t count) {
  constexpr std::int64_t PIECE = 1024;
  for (std::int64_t first = 0; first < count; first += PIECE) {
    const std::int64_t end = std::min(first + PIECE, count);
    const bool zeros = any_zero(values + first, end - first);
    for (std::int64_t i = first; zeros && i < end; ++i) {
      if (static_cast<Bits>(values[i] << 1) == 0 && (gaps[i] != 255 || values[i] != 0)) return true;
    }
  }
  return false;
}

void expect_good_fillers(const Matrix& m, const std::uint8_t* gaps, std::int64_t begin, std::int64_t end) {
  const std::int64_t count = end - begin;
  const bool bad = m.type == ValueType::float32
                       ? any_bad_filler(static_cast<const std::uint32_t*>(m.values) + begin, gaps + begin, count)
                       : any_bad_filler(static_cast<const std::uint16_t*>(m.values) + begin, gaps + begin, count);
  for (std::int64_t e = begin; bad && e < end; ++e) {
    const std::uint32_t bits = value_bits(m, e);
    require((bits & ~sign_bit(m.type)) != 0 || (gaps[e] == 255 && bits == 0),
            "entry " + std::to_string(e) + ": expected a zero to be +0 with a gap of 255 (a filler), found " +
                (bits == 0 ? "+0" : "-0") + " with a gap of " + std::to_string(gaps[e]));
  }
}

// In pieces whose sum fits 16 bits, so that the compiler adds as many at once as it can.
std::int64_t sum_of(const std::uint8_t* gaps, std::int64_t count) {
  constexpr std::int64_t PIECE = 256;
  std::int64_t sum = 0;
  for (std::int64_t first = 0; first < count; first += PIECE) {
    const std::int64_t end = std::min(first + PIECE, count);
    std::uint16_t part = 0;
    for (std::int64_t i = first; i < end; ++i) part = static_cast<std::uint16_t>(part + gaps[i]);
    sum += part;
  }
  return sum;
}

void validate_gap8(const Matrix& m, const MatrixArrays& arrays) {
  expect_count("gaps", m.entries, arrays.indices);
  validate_starts(m, arrays);
  const auto* gaps = static_cast<const std::uint8_t*>(m.indices);
  for (std::int64_t line = 0; line < m.lines; ++line) {
    const std::int64_t begin = m.starts[line];
    const std::int64_t end = m.starts[line + 1];
    expect_good_fillers(m, gaps, begin, end);
    const std::int64_t used = end - begin + sum_of(gaps + begin, end - begin);
    require_said(used <= m.length, [&] {
      return where(line, end - 1) + ": expected a position below " + std::to_string(m.length) + ", found " +
             std::to_string(used - 1);
    });
    require_said(begin == end || value_bits(m, end - 1) != 0,
                 [&] { return where(line, end - 1) + ": expected no filler at a line's end"; });
  }
}

void validate_index16(const Matrix& m, const MatrixArrays& arrays) {
  require(m.length <= 65536, "length: expected at most 65536 for 16-bit positions, found " + std::to_string(m.length));
  expect_count("positions", m.entries, arrays.indices);
  expect_aligned("positions", m.indices, sizeof(std::uint16_t));
  validate_starts(m, arrays);
  const auto* positions = static_cast<const std::uint16_t*>(m.indices);
  for (std::int64_t line = 0; line < m.lines; ++line) {
    const std::int64_t begin = m.starts[line];
    const std::int64_t end = m.starts[line + 1];
    if (begin == end) continue;
    bool unsorted = false;
    for (std::int64_t e = begin; e + 1 < end; ++e) unsorted |= positions[e] >= positions[e + 1];
    for (std::int64_t e = begin; unsorted && e + 1 < end; ++e) {
      require_said(positions[e] < positions[e + 1], [&] {
        return where(line, e + 1) + ": expected a position above " + std::to_string(positions[e]) + ", found " +
               std::to_string(positions[e + 1]);
      });
    }
    require_said(positions[end - 1] < m.length, [&] {
      return where(line, end - 1) + ": expected a position below " + std::to_string(m.length) + ", found " +
             std::to_string(positions[end - 1]);
    });
  }
  expect_no_zeros(m);
}

// Calls visit(line, position, entry) for every entry, fillers included.
template <class Visit>
void each_entry(const Matrix& m, Visit visit) {
  std::int64_t entry = 0;
  for (std::int64_t line = 0; line < m.lines; ++line) {
    switch (m.layout) {
      case LayoutKind::dense:
        for (std::int64_t p = 0; p < m.length; ++p) visit(line, p, entry++);
        break;
      case LayoutKind::bitmask: {
        const auto* mask = static_cast<const std::uint8_t*>(m.indices) + line * ((m.length + 7) / 8);
        for (std::int64_t p = 0; p < m.length; ++p) {
          if ((mask[p / 8] >> (p % 8) & 1) != 0) visit(line, p, entry++);
        }
        break;
      }
      case LayoutKind::gap8: {
        std::int64_t next = 0;
        for (; entry < m.starts[line + 1]; ++entry) {
          next += static_cast<const std::uint8_t*>(m.indices)[entry] + 1;
          visit(line, next - 1, entry);
        }
        break;
      }
      case LayoutKind::index16:
        for (; entry < m.starts[line + 1]; ++entry) {
          visit(line, static_cast<const std::uint16_t*>(m.indices)[entry], entry);
        }
        break;
    }
  }
}

}  // namespace

void validate(const Matrix& m, const MatrixArrays& arrays) {
  require(m.layout <= LayoutKind::index16, "layout: expected 0 to 3 (dense, bitmask, gap8, index16), found " +
                                               std::to_string(static_cast<int>(m.layout)));
  require(m.type <= ValueType::bfloat16, "type: expected 0 to 2 (float32, float16, bfloat16), found " +
                                             std::to_string(static_cast<int>(m.type)));
  require(m.lines >= 1 && m.length >= 1, "shape: expected at least one line of at least one position, found " +
                                             text({m.lines, m.length}));
  const std::int64_t size = elements({m.lines, m.length});
  require(m.lines < UINT32_MAX, "lines: expected fewer than 2^32, found " + std::to_string(m.lines));
  expect_count("values", m.entries, arrays.values);
  require(m.entries <= size, "values: expected at most " + std::to_string(size) + ", found " + std::to_string(m.entries));
  expect_aligned("values", m.values, m.type == ValueType::float32 ? 4 : 2);
  require(m.entries == 0 || m.values != nullptr, "values: expected an array, found none");
  require(m.layout == LayoutKind::dense || m.entries == 0 || m.indices != nullptr, "indices: expected an array, found none");
  const bool lined = m.layout == LayoutKind::gap8 || m.layout == LayoutKind::index16;
  require(!lined || m.starts != nullptr, "starts: expected an array, found none");
  require(lined || arrays.starts == 0, "starts: expected none with this layout");
  switch (m.layout) {
    case LayoutKind::dense:
      require(arrays.indices == 0, "indices: expected none with a dense layout");
      expect_count("values", size, m.entries);
      return;
    case LayoutKind::bitmask: return validate_bitmask(m, arrays);
    case LayoutKind::gap8: return validate_gap8(m, arrays);
    case LayoutKind::index16: return validate_index16(m, arrays);
  }
}

void to_dense(const Matrix& m, float* dense) {
  std::memset(dense, 0, static_cast<std::size_t>(m.lines * m.length) * sizeof(float));
  each_entry(m, [&](std::int64_t line, std::int64_t position, std::int64_t entry) {
    dense[line * m.length + position] = value_at(m, entry);
  });
}

}  // namespace secateur
