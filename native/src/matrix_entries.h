// Walks over the entries of a matrix, whatever its layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "secateur/matrix.h"

namespace secateur {

inline std::int64_t value_bytes(ValueType type) { return type == ValueType::float32 ? 4 : 2; }

// Of the two zeros, too; fillers of gap8 are zeros.
inline bool is_zero(const Matrix& matrix, std::int64_t entry) {
  if (matrix.type == ValueType::float32) return static_cast<const float*>(matrix.values)[entry] == 0.0f;
  return (static_cast<const std::uint16_t*>(matrix.values)[entry] & 0x7FFFu) == 0;
}

// Calls visit(position) for every set bit of a line of a mask, ascending.
template <class Visit>
void each_bit(const std::uint8_t* mask, std::int64_t bytes, Visit visit) {
  std::int64_t byte = 0;
  for (; byte + 8 <= bytes; byte += 8) {
    std::uint64_t bits = 0;  // little-endian, as the file is
    std::memcpy(&bits, mask + byte, 8);
    for (; bits != 0; bits &= bits - 1) visit(8 * byte + __builtin_ctzll(bits));
  }
  for (; byte < bytes; ++byte) {
    for (unsigned bits = mask[byte]; bits != 0; bits &= bits - 1) visit(8 * byte + __builtin_ctz(bits));
  }
}

// Calls visit(position, entry) for every value of a line that is not zero, positions ascending. `entry`: the line's first,
// where the layout does not say it; returned is the next line's. Only dense lines and the fillers of gap8 store zeros: a
// matrix is validated at the door.
template <class Visit>
inline std::int64_t each_of_line(const Matrix& matrix, std::int64_t line, std::int64_t entry, Visit visit) {
  switch (matrix.layout) {
    case LayoutKind::dense:
      for (std::int64_t position = 0; position < matrix.length; ++position, ++entry) {
        if (!is_zero(matrix, entry)) visit(position, entry);
      }
      return entry;
    case LayoutKind::bitmask: {
      const std::int64_t mask_bytes = (matrix.length + 7) / 8;
      const std::uint8_t* const mask = static_cast<const std::uint8_t*>(matrix.indices) + line * mask_bytes;
      each_bit(mask, mask_bytes, [&](std::int64_t position) { visit(position, entry++); });
      return entry;
    }
    case LayoutKind::gap8: {
      std::int64_t position = -1;
      for (entry = matrix.starts[line]; entry < matrix.starts[line + 1]; ++entry) {
        position += static_cast<const std::uint8_t*>(matrix.indices)[entry] + 1;
        if (!is_zero(matrix, entry)) visit(position, entry);
      }
      return entry;
    }
    case LayoutKind::index16:
      for (entry = matrix.starts[line]; entry < matrix.starts[line + 1]; ++entry) {
        visit(static_cast<const std::uint16_t*>(matrix.indices)[entry], entry);
      }
      return entry;
  }
  return entry;
}

// Calls visit(line, position, entry), line by line.
template <class Visit>
void each_nonzero(const Matrix& matrix, Visit visit) {
  std::int64_t entry = 0;
  for (std::int64_t line = 0; line < matrix.lines; ++line) {
    entry = each_of_line(matrix, line, entry, [&](std::int64_t position, std::int64_t at) { visit(line, position, at); });
  }
}

// In pieces whose counts fit 16 bits, so that the compiler counts as many at once as there are numbers in a vector.
template <class Bits>
std::int64_t count_nonzeros(const Bits* values, std::int64_t entries) {
  constexpr std::int64_t PIECE = 1 << 15;
  std::int64_t count = 0;
  for (std::int64_t first = 0; first < entries; first += PIECE) {
    const std::int64_t end = first + PIECE < entries ? first + PIECE : entries;
    Bits found = 0;
    for (std::int64_t i = first; i < end; ++i) {
      found = static_cast<Bits>(found + static_cast<Bits>(static_cast<Bits>(values[i] << 1) != 0));
    }
    count += found;
  }
  return count;
}

// Fillers have the largest gap: where none has it, which is nearly everywhere, no value is read.
inline std::int64_t count_fillers(const Matrix& matrix) {
  const auto* const gaps = static_cast<const std::uint8_t*>(matrix.indices);
  std::int64_t count = 0;
  constexpr std::int64_t PIECE = 1024;
  for (std::int64_t first = 0; first < matrix.entries; first += PIECE) {
    const std::int64_t end = first + PIECE < matrix.entries ? first + PIECE : matrix.entries;
    unsigned char largest = 0;
    for (std::int64_t e = first; e < end; ++e) largest = largest < gaps[e] ? gaps[e] : largest;
    for (std::int64_t e = first; largest == 255 && e < end; ++e) count += gaps[e] == 255 && is_zero(matrix, e) ? 1 : 0;
  }
  return count;
}

// Of a valid matrix: entries that are not zero.
inline std::int64_t count_nonzeros(const Matrix& matrix) {
  if (matrix.layout == LayoutKind::bitmask || matrix.layout == LayoutKind::index16) return matrix.entries;
  if (matrix.layout == LayoutKind::gap8) return matrix.entries - count_fillers(matrix);
  return matrix.type == ValueType::float32
             ? count_nonzeros(static_cast<const std::uint32_t*>(matrix.values), matrix.entries)
             : count_nonzeros(static_cast<const std::uint16_t*>(matrix.values), matrix.entries);
}

// One value into packed memory, in the matrix's own type.
inline void copy_value(const Matrix& matrix, std::int64_t entry, std::byte* values, std::int64_t at) {
  const auto* const source = static_cast<const std::byte*>(matrix.values);
  if (matrix.type == ValueType::float32) {
    std::memcpy(values + at * 4, source + entry * 4, 4);
  } else {
    std::memcpy(values + at * 2, source + entry * 2, 2);
  }
}

}  // namespace secateur
