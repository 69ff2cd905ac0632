// Matrices times one vector, in place on the file's arrays.
#pragma once

#include <type_traits>

#include "lanes-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

void widen(const void* values, ValueType type, std::int64_t count, float* out);

// Half values are widened some at a time, so that the loops over entries know floats alone.
constexpr std::int64_t CHUNK = 128;

// Entries of one line, as floats. Four at a time: their sums are distinct, so that no load waits for a store.
inline float* scatter_gaps(const std::uint8_t* gaps, const float* values, std::int64_t count, float x, float* sum) {
  std::int64_t e = 0;
  for (; e + 4 <= count; e += 4) {
    std::uint32_t four;
    std::memcpy(&four, gaps + e, sizeof four);
    float* const a = sum + (four & 255u) + 1;
    float* const b = a + (four >> 8 & 255u) + 1;
    float* const c = b + (four >> 16 & 255u) + 1;
    float* const d = c + (four >> 24) + 1;
    const float new_a = __builtin_fmaf(x, values[e], *a);
    const float new_b = __builtin_fmaf(x, values[e + 1], *b);
    const float new_c = __builtin_fmaf(x, values[e + 2], *c);
    const float new_d = __builtin_fmaf(x, values[e + 3], *d);
    *a = new_a, *b = new_b, *c = new_c, *d = new_d;
    sum = d;
  }
  for (; e < count; ++e) {
    sum += gaps[e] + 1;
    *sum = __builtin_fmaf(x, values[e], *sum);
  }
  return sum;
}

inline void scatter_positions(const std::uint16_t* at, const float* values, std::int64_t count, float x, float* sums) {
  std::int64_t e = 0;
  for (; e + 4 <= count; e += 4) {
    float* const a = sums + at[e];
    float* const b = sums + at[e + 1];
    float* const c = sums + at[e + 2];
    float* const d = sums + at[e + 3];
    const float new_a = __builtin_fmaf(x, values[e], *a);
    const float new_b = __builtin_fmaf(x, values[e + 1], *b);
    const float new_c = __builtin_fmaf(x, values[e + 2], *c);
    const float new_d = __builtin_fmaf(x, values[e + 3], *d);
    *a = new_a, *b = new_b, *c = new_c, *d = new_d;
  }
  for (; e < count; ++e) sums[at[e]] = __builtin_fmaf(x, values[e], sums[at[e]]);
}

// The processor's own prefetching starts anew at each line, since those of zero inputs are left out: the start of the next
// one is asked for. All of it pushed what was in use out of the first level: on Zen 4 1.06 times as long where a tenth of
// the weights are left, 1.25 times where all are; none of it took 1.03 times as long.
inline void prefetch_start(const void* from, std::int64_t bytes) {
  constexpr std::int64_t START = 512;
  const std::int64_t end = bytes < START ? bytes : START;
  for (std::int64_t at = 0; at < end; at += 64) __builtin_prefetch(static_cast<const char*>(from) + at);
}

// Fillers are zeros: of an input that is not finite they would make NaN of an output it is not connected with.
inline bool is_finite(float x) { return x - x == 0.0f; }

inline float* scatter_past_fillers(const std::uint8_t* gaps, const float* values, std::int64_t count, float x, float* sum) {
  for (std::int64_t e = 0; e < count; ++e) {
    sum += gaps[e] + 1;
    if (values[e] != 0.0f) *sum = __builtin_fmaf(x, values[e], *sum);
  }
  return sum;
}

template <LayoutKind LAYOUT>
void scatter_line(const ScatterLines& lines, std::int64_t line, float x) {
  const std::int64_t begin = lines.starts[line];
  const std::int64_t end = lines.starts[line + 1];
  float* sum = lines.sums - 1;
  float chunk[CHUNK];
  const bool floats = lines.type == ValueType::float32;
  const std::int64_t step = floats ? end - begin : CHUNK;
  for (std::int64_t first = begin; first < end; first += step) {
    const std::int64_t count = end - first < step ? end - first : step;
    const float* values = chunk;
    if (floats) {
      values = static_cast<const float*>(lines.values) + first;
    } else {
      widen(static_cast<const std::uint16_t*>(lines.values) + first, lines.type, count, chunk);
    }
    if constexpr (LAYOUT == LayoutKind::gap8) {
      const auto* const gaps = static_cast<const std::uint8_t*>(lines.indices) + first;
      sum = is_finite(x) ? scatter_gaps(gaps, values, count, x, sum) : scatter_past_fillers(gaps, values, count, x, sum);
    } else {
      scatter_positions(static_cast<const std::uint16_t*>(lines.indices) + first, values, count, x, lines.sums);
    }
  }
}

// Calls visit(line, next) for every line whose input is not zero; after the last of some there is no next: -1. They are
// listed without a branch: which are zero is as good as random.
template <class Visit>
inline void each_living(const float* x, std::int64_t begin, std::int64_t end, Visit visit) {
  constexpr std::int64_t LISTED = 512;
  std::int32_t alive[LISTED + 1];
  for (std::int64_t first = begin; first < end; first += LISTED) {
    const std::int64_t count = end - first < LISTED ? end - first : LISTED;
    std::int64_t living = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      alive[living] = static_cast<std::int32_t>(i);
      living += x[first + i] != 0.0f;
    }
    for (std::int64_t i = 0; i < living; ++i) visit(first + alive[i], i + 1 < living ? first + alive[i + 1] : -1);
  }
}

template <LayoutKind LAYOUT>
void scatter_layout(const ScatterLines& lines) {
  constexpr std::int64_t INDEX_BYTES = LAYOUT == LayoutKind::gap8 ? 1 : 2;
  const std::int64_t value_size = lines.type == ValueType::float32 ? 4 : 2;
  each_living(lines.x, lines.begin, lines.end, [&](std::int64_t line, std::int64_t next) {
    if (next >= 0) {
      const std::int64_t begin = lines.starts[next];
      const std::int64_t entries = lines.starts[next + 1] - begin;
      prefetch_start(static_cast<const char*>(lines.values) + begin * value_size, entries * value_size);
      prefetch_start(static_cast<const char*>(lines.indices) + begin * INDEX_BYTES, entries * INDEX_BYTES);
    }
    scatter_line<LAYOUT>(lines, line, lines.x[line]);
  });
}

void scatter_lines(const ScatterLines& lines) {
  if (lines.layout == LayoutKind::gap8) {
    scatter_layout<LayoutKind::gap8>(lines);
  } else {
    scatter_layout<LayoutKind::index16>(lines);
  }
}

// One line of gap8 or index16, from where it is to `end`. Two sums, of the entries in even and in odd places, whatever
// lines go beside it: what a line comes to does not depend on them.
struct LineWalk {
  const float* x;  // gap8: at the last position taken
  std::int64_t entry;
  std::int64_t end;
  float even;
  float odd;
};

template <LayoutKind LAYOUT>
inline const float* position(LineWalk& walk, const void* indices, std::int64_t entry) {
  if constexpr (LAYOUT == LayoutKind::gap8) {
    return walk.x += static_cast<const std::uint8_t*>(indices)[entry] + 1;
  } else {
    return walk.x + static_cast<const std::uint16_t*>(indices)[entry];
  }
}

template <LayoutKind LAYOUT>
inline void take_two(LineWalk& walk, const void* indices, const float* values) {
  walk.even = __builtin_fmaf(values[walk.entry], *position<LAYOUT>(walk, indices, walk.entry), walk.even);
  walk.odd = __builtin_fmaf(values[walk.entry + 1], *position<LAYOUT>(walk, indices, walk.entry + 1), walk.odd);
  walk.entry += 2;
}

template <LayoutKind LAYOUT>
inline void take_rest(LineWalk& walk, const void* indices, const float* values) {
  while (walk.entry + 2 <= walk.end) take_two<LAYOUT>(walk, indices, values);
  if (walk.entry < walk.end) {
    walk.even = __builtin_fmaf(values[walk.entry], *position<LAYOUT>(walk, indices, walk.entry), walk.even);
  }
}

// Four lines side by side hide the latency of each one's sums; what the shortest leaves over is done line by line.
template <LayoutKind LAYOUT>
void gather_floats(const GatherLines& lines) {
  constexpr std::int64_t TOGETHER = 4;
  const float* const values = static_cast<const float*>(lines.values);
  const float* const start = LAYOUT == LayoutKind::gap8 ? lines.x - 1 : lines.x;
  for (std::int64_t first = lines.begin; first < lines.end; first += TOGETHER) {
    const std::int64_t count = lines.end - first < TOGETHER ? lines.end - first : TOGETHER;
    LineWalk walk[TOGETHER];
    std::int64_t shortest = count < TOGETHER ? 0 : INT64_MAX;
    for (std::int64_t i = 0; i < count; ++i) {
      walk[i] = {start, lines.starts[first + i], lines.starts[first + i + 1], 0.0f, 0.0f};
      if (walk[i].end - walk[i].entry < shortest) shortest = walk[i].end - walk[i].entry;
    }
    LineWalk a = walk[0], b = walk[1], c = walk[2], d = walk[3];
    for (std::int64_t i = 0; i + 2 <= shortest; i += 2) {
      take_two<LAYOUT>(a, lines.indices, values);
      take_two<LAYOUT>(b, lines.indices, values);
      take_two<LAYOUT>(c, lines.indices, values);
      take_two<LAYOUT>(d, lines.indices, values);
    }
    walk[0] = a, walk[1] = b, walk[2] = c, walk[3] = d;
    for (std::int64_t i = 0; i < count; ++i) {
      take_rest<LAYOUT>(walk[i], lines.indices, values);
      lines.sums[first - lines.begin + i] = walk[i].even + walk[i].odd;
    }
  }
}

// Lines of half values, widened a chunk at a time.
template <LayoutKind LAYOUT>
void gather_halves(const GatherLines& lines) {
  constexpr std::int64_t INDEX_BYTES = LAYOUT == LayoutKind::gap8 ? 1 : 2;
  const auto* const halves = static_cast<const std::uint16_t*>(lines.values);
  const auto* const indices = static_cast<const std::uint8_t*>(lines.indices);
  for (std::int64_t line = lines.begin; line < lines.end; ++line) {
    LineWalk walk{LAYOUT == LayoutKind::gap8 ? lines.x - 1 : lines.x, 0, 0, 0.0f, 0.0f};
    float chunk[CHUNK];
    for (std::int64_t first = lines.starts[line]; first < lines.starts[line + 1]; first += CHUNK) {
      walk.entry = 0;
      walk.end = lines.starts[line + 1] - first < CHUNK ? lines.starts[line + 1] - first : CHUNK;
      widen(halves + first, lines.type, walk.end, chunk);
      take_rest<LAYOUT>(walk, indices + first * INDEX_BYTES, chunk);
    }
    lines.sums[line - lines.begin] = walk.even + walk.odd;
  }
}

bool any_nan(const float* x, std::int64_t count) {
  bool found = false;
  for (std::int64_t i = 0; i < count; ++i) found |= x[i] != x[i];
  return found;
}

// The same sums, of what is not zero alone.
void gather_past_fillers(const GatherLines& lines) {
  const auto* const gaps = static_cast<const std::uint8_t*>(lines.indices);
  const std::int64_t value_size = lines.type == ValueType::float32 ? 4 : 2;
  for (std::int64_t line = lines.begin; line < lines.end; ++line) {
    const float* x = lines.x - 1;
    float sums[2] = {0.0f, 0.0f};
    float chunk[CHUNK];
    for (std::int64_t first = lines.starts[line]; first < lines.starts[line + 1]; first += CHUNK) {
      const std::int64_t count = lines.starts[line + 1] - first < CHUNK ? lines.starts[line + 1] - first : CHUNK;
      widen(static_cast<const char*>(lines.values) + first * value_size, lines.type, count, chunk);
      for (std::int64_t e = 0; e < count; ++e) {
        x += gaps[first + e] + 1;
        if (chunk[e] != 0.0f) sums[e % 2] = __builtin_fmaf(chunk[e], *x, sums[e % 2]);
      }
    }
    lines.sums[line - lines.begin] = sums[0] + sums[1];
  }
}

// Calls run with the type as a constant.
template <class Run>
inline void of_type(ValueType type, Run run) {
  switch (type) {
    case ValueType::float32: return run(std::integral_constant<ValueType, ValueType::float32>{});
    case ValueType::float16: return run(std::integral_constant<ValueType, ValueType::float16>{});
    case ValueType::bfloat16: return run(std::integral_constant<ValueType, ValueType::bfloat16>{});
  }
}

template <ValueType TYPE>
inline Vec load_values(const void* values, std::int64_t at) {
  if constexpr (TYPE == ValueType::float32) {
    return load(static_cast<const float*>(values) + at);
  } else if constexpr (TYPE == ValueType::float16) {
    return widen_half(static_cast<const std::uint16_t*>(values) + at);
  } else {
    return widen_brain(static_cast<const std::uint16_t*>(values) + at);
  }
}

// The first of a vector of values, the others zero; what lies behind them is not read.
template <ValueType TYPE>
inline Vec load_first_values(const void* values, std::int64_t at, std::int64_t count) {
  if constexpr (TYPE == ValueType::float32) {
    return load_part(static_cast<const float*>(values) + at, count);
  } else {
    float chunk[LANES] = {};
    widen(static_cast<const std::uint16_t*>(values) + at, TYPE, count, chunk);
    return load(chunk);
  }
}

// As many as there are registers for two sums of each. On Zen 4 eight streams from memory are 1.2 times as fast as four,
// and one is slower than either.
constexpr int DENSE_LINES = SECATEUR_ISA_NUMBER == 5 ? 8 : 4;

// From beyond the second-level cache some lines are fetched ahead: up to 1.1 times as fast; from nearer it is 0.8 times.
// From memory they are fetched further ahead, and to the second level, which waits for more of them at a time than the
// first: on Zen 4 1.2 times as fast again where nobody else uses the memory, and 0.85 times from the last-level cache.
template <ValueType TYPE, int TOGETHER, Home HOME>
void dense_lines(const GatherLines& lines, std::int64_t first) {
  constexpr std::int64_t SIZE = TYPE == ValueType::float32 ? 4 : 2;
  constexpr std::int64_t AHEAD = (HOME == Home::memory ? 16384 : 4096) / DENSE_LINES;  // bytes
  Vec sum[TOGETHER][2];
  for (int t = 0; t < TOGETHER; ++t) sum[t][0] = sum[t][1] = set(0.0f);
  const std::int64_t start = first * lines.line_step;
  std::int64_t i = 0;
  for (; i + 2 * LANES <= lines.length; i += 2 * LANES) {
    const Vec x0 = load(lines.x + i);
    const Vec x1 = load(lines.x + i + LANES);
    SECATEUR_UNROLL
    for (int t = 0; t < TOGETHER; ++t) {
      const std::int64_t at = start + t * lines.line_step + i;
      if constexpr (HOME != Home::core) {
        for (std::int64_t byte = 0; byte < 2 * LANES * SIZE; byte += 64) {
          const char* const ahead = static_cast<const char*>(lines.values) + at * SIZE + AHEAD + byte;
          HOME == Home::memory ? __builtin_prefetch(ahead, 0, 2) : __builtin_prefetch(ahead);
        }
      }
      sum[t][0] = fma(load_values<TYPE>(lines.values, at), x0, sum[t][0]);
      sum[t][1] = fma(load_values<TYPE>(lines.values, at + LANES), x1, sum[t][1]);
    }
  }
  // One by one the last 12 of LeNet-300-100's 300 took as long as the 288 before them.
  for (int part = 0; i < lines.length; i += LANES, part = 1) {
    const std::int64_t count = lines.length - i < LANES ? lines.length - i : LANES;
    const Vec x = load_part(lines.x + i, count);
    SECATEUR_UNROLL
    for (int t = 0; t < TOGETHER; ++t) {
      const Vec values = load_first_values<TYPE>(lines.values, start + t * lines.line_step + i, count);
      sum[t][part] = fma(values, x, sum[t][part]);
    }
  }
  for (int t = 0; t < TOGETHER; ++t) {
    lines.sums[first - lines.begin + t] = SECATEUR_ISA::sum(sum[t][0] + sum[t][1]);
  }
}

template <ValueType TYPE, Home HOME>
void dense_product(const GatherLines& lines) {
  std::int64_t first = lines.begin;
  for (; first + DENSE_LINES <= lines.end; first += DENSE_LINES) dense_lines<TYPE, DENSE_LINES, HOME>(lines, first);
  if (first + DENSE_LINES / 2 <= lines.end) {
    dense_lines<TYPE, DENSE_LINES / 2, HOME>(lines, first);
    first += DENSE_LINES / 2;
  }
  for (; first < lines.end; ++first) dense_lines<TYPE, 1, HOME>(lines, first);
}

void gather_lines(const GatherLines& lines) {
  if (lines.layout == LayoutKind::dense) {
    return of_type(lines.type, [&](auto type) {
      switch (lines.home) {
        case Home::core: return dense_product<type(), Home::core>(lines);
        case Home::last_level: return dense_product<type(), Home::last_level>(lines);
        case Home::memory: return dense_product<type(), Home::memory>(lines);
      }
    });
  }
  const bool gaps = lines.layout == LayoutKind::gap8;
  if (lines.type == ValueType::float32) {
    gaps ? gather_floats<LayoutKind::gap8>(lines) : gather_floats<LayoutKind::index16>(lines);
  } else {
    gaps ? gather_halves<LayoutKind::gap8>(lines) : gather_halves<LayoutKind::index16>(lines);
  }
  // A look at the sums, which are few, says whether a filler may have met an input that is not finite.
  if (gaps && any_nan(lines.sums, lines.end - lines.begin)) gather_past_fillers(lines);
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
