// Lines of a bitmask times a few vectors, in place on the file's arrays: the values of a vector of positions are loaded
// as they lie and spread to the lanes whose bits are set. No index is read or followed, so that a third of the weights
// takes little more than a third of the time that all of them would.
#pragma once

#include "lanes-inl.h"
#include "matrix_lines-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

constexpr int BITMASK_SUMS = SECATEUR_ISA_NUMBER == 5 ? 16 : 8;  // half of the registers
constexpr int BITMASK_LINES = SECATEUR_ISA_NUMBER == 5 ? 8 : 4;

constexpr std::int64_t EIGHT = 8;  // positions, whose bits are a byte

template <ValueType TYPE>
inline Eight load_eight_values(const void* values, std::int64_t at) {
  if constexpr (TYPE == ValueType::float32) {
    return load_eight(static_cast<const float*>(values) + at);
  } else if constexpr (TYPE == ValueType::float16) {
    return widen_eight_halves(static_cast<const std::uint16_t*>(values) + at);
  } else {
    return widen_eight_brains(static_cast<const std::uint16_t*>(values) + at);
  }
}

// The careful way, for the last lines, behind whose values there may be no memory, and for inputs that are not finite:
// what is not connected is left out there instead of multiplied by zero.
enum class Way { fast, careful };

template <ValueType TYPE, Way WAY>
inline Eight spread_values(const BitmaskLines& lines, std::int64_t entry, EightSpread spread, std::uint32_t bits) {
  if constexpr (WAY == Way::fast) return expand(spread, load_eight_values<TYPE>(lines.values, entry));
  float chunk[EIGHT] = {};
  const std::int64_t size = TYPE == ValueType::float32 ? 4 : 2;
  widen(static_cast<const char*>(lines.values) + entry * size, TYPE, __builtin_popcount(bits), chunk);
  return expand(spread, load_eight(chunk));
}

// Some lines side by side share each load of the inputs, and their sums hide each other's latency.
template <ValueType TYPE, int TOGETHER, int ROWS, Way WAY, bool FAR>
void bitmask_together(const BitmaskLines& lines, std::int64_t first, const float* x, float* sums, std::int64_t step) {
  const std::int64_t mask_bytes = (lines.length + 7) / 8;
  constexpr std::int64_t SIZE = TYPE == ValueType::float32 ? 4 : 2;
  const std::uint8_t* const masks = lines.masks + first * mask_bytes;
  std::int64_t entry[TOGETHER];
  Eight sum[TOGETHER][ROWS];
  for (int t = 0; t < TOGETHER; ++t) {
    entry[t] = lines.starts[first + t];
    for (int r = 0; r < ROWS; ++r) sum[t][r] = zero_eight();
  }
  constexpr std::int64_t AHEAD = 2048;  // bytes
  const auto take = [&](std::int64_t i, std::int64_t count) {
    Eight inputs[ROWS];
    SECATEUR_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      const float* const from = x + r * lines.length + i;
      inputs[r] = count < EIGHT ? load_first_of_eight(from, count) : load_eight(from);
    }
    SECATEUR_UNROLL
    for (int t = 0; t < TOGETHER; ++t) {
      const std::uint32_t bits = masks[t * mask_bytes + i / EIGHT];
      const EightSpread spread = spread_eight_to(bits);
      // From memory to the second level, as dense lines.
      if constexpr (FAR) {
        __builtin_prefetch(static_cast<const char*>(lines.values) + entry[t] * SIZE + AHEAD, 0, 2);
      }
      const Eight values = spread_values<TYPE, WAY>(lines, entry[t], spread, bits);
      SECATEUR_UNROLL
      for (int r = 0; r < ROWS; ++r) {
        sum[t][r] = WAY == Way::fast ? fma(values, inputs[r], sum[t][r]) : fma_where(spread, values, inputs[r], sum[t][r]);
      }
      entry[t] += __builtin_popcount(bits);
    }
  };
  std::int64_t i = 0;
  for (; i + EIGHT <= lines.length; i += EIGHT) take(i, EIGHT);
  if (i < lines.length) take(i, lines.length - i);
  for (int t = 0; t < TOGETHER; ++t) {
    for (int r = 0; r < ROWS; ++r) sums[t + r * step] = SECATEUR_ISA::sum(sum[t][r]);
  }
}

template <ValueType TYPE, int ROWS, bool FAR>
void bitmask_rows(const BitmaskLines& lines, const float* x, float* sums) {
  constexpr int TOGETHER = BITMASK_SUMS / ROWS < BITMASK_LINES ? BITMASK_SUMS / ROWS : BITMASK_LINES;
  const std::int64_t step = lines.end - lines.begin;
  // Lines from whose last value on eight can be read.
  std::int64_t whole = lines.end;
  while (whole > lines.begin && lines.starts[whole] + EIGHT > lines.entries) --whole;
  std::int64_t done = 0;
  for (; lines.begin + done + TOGETHER <= whole; done += TOGETHER) {
    bitmask_together<TYPE, TOGETHER, ROWS, Way::fast, FAR>(lines, lines.begin + done, x, sums + done, step);
  }
  for (; lines.begin + done < whole; ++done) {
    bitmask_together<TYPE, 1, ROWS, Way::fast, FAR>(lines, lines.begin + done, x, sums + done, step);
  }
  for (std::int64_t r = 0; r < ROWS; ++r) {
    if (any_nan(sums + r * step, done)) done = 0;
  }
  for (; done < step; ++done) {
    bitmask_together<TYPE, 1, ROWS, Way::careful, FAR>(lines, lines.begin + done, x, sums + done, step);
  }
}

template <ValueType TYPE, bool FAR>
void bitmask_product(const BitmaskLines& lines) {
  std::int64_t row = 0;
  const auto take = [&](auto rows, std::int64_t count) {
    rows(lines, lines.x + row * lines.length, lines.sums + row * (lines.end - lines.begin));
    row += count;
  };
  // Eight rows at once were slower on AVX-512: GCC keeps no input in a register, and reads all of them twice.
  while (row + 4 <= lines.rows) take(&bitmask_rows<TYPE, 4, FAR>, 4);
  if (row + 2 <= lines.rows) take(&bitmask_rows<TYPE, 2, FAR>, 2);
  if (row < lines.rows) take(&bitmask_rows<TYPE, 1, FAR>, 1);
}

void bitmask_lines(const BitmaskLines& lines) {
  of_type(lines.type, [&](auto type) {
    lines.home == Home::memory ? bitmask_product<type(), true>(lines) : bitmask_product<type(), false>(lines);
  });
}

// sums += x * line, wherever a bit is set.
template <ValueType TYPE, Way WAY>
void bitmask_scatter_line(const BitmaskLines& lines, std::int64_t line, float x, float* sums) {
  const std::uint8_t* const mask = lines.masks + line * ((lines.length + 7) / 8);
  std::int64_t entry = lines.starts[line];
  const Eight factor = low_eight(set(x));
  for (std::int64_t i = 0; i < lines.length; i += EIGHT) {
    const std::int64_t count = lines.length - i < EIGHT ? lines.length - i : EIGHT;
    const std::uint32_t bits = mask[i / EIGHT];
    const EightSpread spread = spread_eight_to(bits);
    const Eight values = spread_values<TYPE, WAY>(lines, entry, spread, bits);
    const Eight sum = count < EIGHT ? load_first_of_eight(sums + i, count) : load_eight(sums + i);
    const Eight next = WAY == Way::fast ? fma(values, factor, sum) : fma_where(spread, values, factor, sum);
    count < EIGHT ? store_part(sums + i, count, next) : store_eight(sums + i, next);
    entry += __builtin_popcount(bits);
  }
}

template <ValueType TYPE>
void bitmask_scatter(const BitmaskLines& lines) {
  constexpr std::int64_t SIZE = TYPE == ValueType::float32 ? 4 : 2;
  const std::int64_t mask_bytes = (lines.length + 7) / 8;
  each_living(lines.x, lines.begin, lines.end, [&](std::int64_t line, std::int64_t next) {
    if (next >= 0) {
      const std::int64_t begin = lines.starts[next];
      prefetch_start(static_cast<const char*>(lines.values) + begin * SIZE, (lines.starts[next + 1] - begin) * SIZE);
      prefetch_start(lines.masks + next * mask_bytes, mask_bytes);
    }
    const float x = lines.x[line];
    if (is_finite(x) && lines.starts[line + 1] + EIGHT <= lines.entries) {
      bitmask_scatter_line<TYPE, Way::fast>(lines, line, x, lines.sums);
    } else {
      bitmask_scatter_line<TYPE, Way::careful>(lines, line, x, lines.sums);
    }
  });
}

void scatter_bitmask(const BitmaskLines& lines) {
  of_type(lines.type, [&](auto type) { bitmask_scatter<type()>(lines); });
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
