// Walks over the entries of a matrix, whatever its layout.
#pragma once

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

// Calls visit(line, position, entry) for every value that is not zero, line by line, positions ascending.
template <class Visit>
void each_nonzero(const Matrix& matrix, Visit visit) {
  std::int64_t entry = 0;
  const std::int64_t mask_bytes = (matrix.length + 7) / 8;
  for (std::int64_t line = 0; line < matrix.lines; ++line) {
    switch (matrix.layout) {
      case LayoutKind::dense:
        for (std::int64_t position = 0; position < matrix.length; ++position, ++entry) {
          if (!is_zero(matrix, entry)) visit(line, position, entry);
        }
        break;
      case LayoutKind::bitmask: {
        const std::uint8_t* const mask = static_cast<const std::uint8_t*>(matrix.indices) + line * mask_bytes;
        for (std::int64_t byte = 0; byte < mask_bytes; ++byte) {
          for (unsigned bits = mask[byte], bit = 0; bits != 0; bits >>= 1, ++bit) {
            if ((bits & 1u) == 0) continue;
            if (!is_zero(matrix, entry)) visit(line, 8 * byte + bit, entry);
            ++entry;
          }
        }
        break;
      }
      case LayoutKind::gap8: {
        std::int64_t position = -1;
        for (entry = matrix.starts[line]; entry < matrix.starts[line + 1]; ++entry) {
          position += static_cast<const std::uint8_t*>(matrix.indices)[entry] + 1;
          if (!is_zero(matrix, entry)) visit(line, position, entry);
        }
        break;
      }
      case LayoutKind::index16:
        for (entry = matrix.starts[line]; entry < matrix.starts[line + 1]; ++entry) {
          const std::int64_t position = static_cast<const std::uint16_t*>(matrix.indices)[entry];
          if (!is_zero(matrix, entry)) visit(line, position, entry);
        }
        break;
    }
  }
}

inline std::int64_t count_nonzeros(const Matrix& matrix) {
  std::int64_t count = 0;
  each_nonzero(matrix, [&](std::int64_t, std::int64_t, std::int64_t) { ++count; });
  return count;
}

// One value into packed memory, in the matrix's own type.
inline void copy_value(const Matrix& matrix, std::int64_t entry, std::byte* values, std::int64_t at) {
  const std::int64_t size = value_bytes(matrix.type);
  std::memcpy(values + at * size, static_cast<const std::byte*>(matrix.values) + entry * size,
              static_cast<std::size_t>(size));
}

}  // namespace secateur
