// A matrix as the compact file holds it: lines of positions, of which most are zero.
#pragma once

#include <cstdint>

namespace secateur {

enum class LayoutKind : std::uint8_t { dense, bitmask, gap8, index16 };
enum class ValueType : std::uint8_t { float32, float16, bfloat16 };

// Views into the mapped file, validated at the door (see validate.h): after that every index is trusted.
//   dense:   values[lines * length]
//   bitmask: indices are bytes, (length + 7) / 8 a line, bit i of byte b is position 8 b + i; values of the set bits
//   gap8:    starts[lines + 1]; entry e of a line skips indices[e] (uint8) zeros and is values[e]; a gap of 256 zeros
//            or more is bridged by fillers: entries of gap 255 and value +0
//   index16: starts[lines + 1]; indices are uint16 positions, ascending within a line
struct Matrix {
  LayoutKind layout = LayoutKind::dense;
  ValueType type = ValueType::float32;
  std::int64_t lines = 0;
  std::int64_t length = 0;
  std::int64_t entries = 0;  // of values, fillers included
  const void* values = nullptr;
  const void* indices = nullptr;
  const std::uint32_t* starts = nullptr;
};

}  // namespace secateur
