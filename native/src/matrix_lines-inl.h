// Matrices times one vector, in place on the file's arrays.
#pragma once

#include "lanes-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

void widen(const void* values, ValueType type, std::int64_t count, float* out);

// Half values are widened some at a time, so that the loops over entries know floats alone.
constexpr std::int64_t CHUNK = 128;

template <class Entry>
inline void each_entry(const void* values, ValueType type, std::int64_t begin, std::int64_t end, Entry entry) {
  if (type == ValueType::float32) {
    const float* const floats = static_cast<const float*>(values);
    for (std::int64_t e = begin; e < end; ++e) entry(e, floats[e]);
    return;
  }
  const std::uint16_t* const halves = static_cast<const std::uint16_t*>(values);
  float chunk[CHUNK];
  for (std::int64_t first = begin; first < end; first += CHUNK) {
    const std::int64_t count = end - first < CHUNK ? end - first : CHUNK;
    widen(halves + first, type, count, chunk);
    for (std::int64_t i = 0; i < count; ++i) entry(first + i, chunk[i]);
  }
}

void scatter_lines(const ScatterLines& lines) {
  float* const sums = lines.sums;
  for (std::int64_t line = lines.begin; line < lines.end; ++line) {
    const float x = lines.x[line];
    if (x == 0.0f) continue;
    const std::int64_t begin = lines.starts[line];
    const std::int64_t end = lines.starts[line + 1];
    if (lines.layout == LayoutKind::gap8) {
      const std::uint8_t* const gaps = static_cast<const std::uint8_t*>(lines.indices);
      float* sum = sums - 1;
      each_entry(lines.values, lines.type, begin, end, [&](std::int64_t e, float value) {
        sum += gaps[e] + 1;
        *sum = __builtin_fmaf(x, value, *sum);
      });
    } else {
      const std::uint16_t* const positions = static_cast<const std::uint16_t*>(lines.indices);
      each_entry(lines.values, lines.type, begin, end, [&](std::int64_t e, float value) {
        sums[positions[e]] = __builtin_fmaf(x, value, sums[positions[e]]);
      });
    }
  }
}

// One line of gap8 or index16, from where it is to `end`.
struct LineWalk {
  const float* x;  // gap8: at the last position taken
  std::int64_t entry;
  std::int64_t end;
  float sum;
};

template <LayoutKind LAYOUT>
inline void take(LineWalk& walk, const void* indices, const float* values) {
  if constexpr (LAYOUT == LayoutKind::gap8) {
    walk.x += static_cast<const std::uint8_t*>(indices)[walk.entry] + 1;
    walk.sum = __builtin_fmaf(values[walk.entry], *walk.x, walk.sum);
  } else {
    walk.sum = __builtin_fmaf(values[walk.entry], walk.x[static_cast<const std::uint16_t*>(indices)[walk.entry]], walk.sum);
  }
  ++walk.entry;
}

// Four lines side by side hide the latency of each one's sum; what the shortest leaves over is done line by line.
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
      walk[i] = {start, lines.starts[first + i], lines.starts[first + i + 1], 0.0f};
      if (walk[i].end - walk[i].entry < shortest) shortest = walk[i].end - walk[i].entry;
    }
    LineWalk a = walk[0], b = walk[1], c = walk[2], d = walk[3];
    for (std::int64_t i = 0; i < shortest; ++i) {
      take<LAYOUT>(a, lines.indices, values);
      take<LAYOUT>(b, lines.indices, values);
      take<LAYOUT>(c, lines.indices, values);
      take<LAYOUT>(d, lines.indices, values);
    }
    walk[0] = a, walk[1] = b, walk[2] = c, walk[3] = d;
    for (std::int64_t i = 0; i < count; ++i) {
      while (walk[i].entry < walk[i].end) take<LAYOUT>(walk[i], lines.indices, values);
      lines.sums[first - lines.begin + i] = walk[i].sum;
    }
  }
}

void gather_halves(const GatherLines& lines) {
  for (std::int64_t line = lines.begin; line < lines.end; ++line) {
    float sum = 0.0f;
    const std::int64_t begin = lines.starts[line];
    const std::int64_t end = lines.starts[line + 1];
    if (lines.layout == LayoutKind::gap8) {
      const std::uint8_t* const gaps = static_cast<const std::uint8_t*>(lines.indices);
      const float* x = lines.x - 1;
      each_entry(lines.values, lines.type, begin, end, [&](std::int64_t e, float value) {
        x += gaps[e] + 1;
        sum = __builtin_fmaf(value, *x, sum);
      });
    } else {
      const std::uint16_t* const positions = static_cast<const std::uint16_t*>(lines.indices);
      each_entry(lines.values, lines.type, begin, end,
                 [&](std::int64_t e, float value) { sum = __builtin_fmaf(value, lines.x[positions[e]], sum); });
    }
    lines.sums[line - lines.begin] = sum;
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

template <ValueType TYPE, int TOGETHER>
void dense_lines(const GatherLines& lines, std::int64_t first) {
  Vec sum[TOGETHER][2];
  for (int t = 0; t < TOGETHER; ++t) sum[t][0] = sum[t][1] = set(0.0f);
  const std::int64_t start = first * lines.length;
  std::int64_t i = 0;
  for (; i + 2 * LANES <= lines.length; i += 2 * LANES) {
    const Vec x0 = load(lines.x + i);
    const Vec x1 = load(lines.x + i + LANES);
SECATEUR_UNROLL
    for (int t = 0; t < TOGETHER; ++t) {
      const std::int64_t at = start + t * lines.length + i;
      sum[t][0] = fma(load_values<TYPE>(lines.values, at), x0, sum[t][0]);
      sum[t][1] = fma(load_values<TYPE>(lines.values, at + LANES), x1, sum[t][1]);
    }
  }
  for (int t = 0; t < TOGETHER; ++t) {
    float rest = SECATEUR_ISA::sum(sum[t][0] + sum[t][1]);
    for (std::int64_t j = i; j < lines.length; j += CHUNK) {
      const std::int64_t count = lines.length - j < CHUNK ? lines.length - j : CHUNK;
      float chunk[CHUNK];
      const std::int64_t at = start + t * lines.length + j;
      const std::int64_t size = TYPE == ValueType::float32 ? 4 : 2;
      widen(static_cast<const char*>(lines.values) + at * size, TYPE, count, chunk);
      for (std::int64_t k = 0; k < count; ++k) rest = __builtin_fmaf(chunk[k], lines.x[j + k], rest);
    }
    lines.sums[first - lines.begin + t] = rest;
  }
}

template <ValueType TYPE>
void dense_product(const GatherLines& lines) {
  std::int64_t first = lines.begin;
  for (; first + 4 <= lines.end; first += 4) dense_lines<TYPE, 4>(lines, first);
  for (; first < lines.end; ++first) dense_lines<TYPE, 1>(lines, first);
}

void gather_lines(const GatherLines& lines) {
  if (lines.layout == LayoutKind::dense) {
    switch (lines.type) {
      case ValueType::float32: return dense_product<ValueType::float32>(lines);
      case ValueType::float16: return dense_product<ValueType::float16>(lines);
      case ValueType::bfloat16: return dense_product<ValueType::bfloat16>(lines);
    }
  }
  if (lines.type != ValueType::float32) return gather_halves(lines);
  if (lines.layout == LayoutKind::gap8) return gather_floats<LayoutKind::gap8>(lines);
  return gather_floats<LayoutKind::index16>(lines);
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
