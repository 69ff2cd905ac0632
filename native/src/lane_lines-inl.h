// Into the lane tile and out of it.
#pragma once

#include "activation-inl.h"
#include "lanes-inl.h"
#include "weighted_kernels.h"

namespace secateur::SECATEUR_ISA {
namespace {

// Eight lanes by eight numbers. What is read of the lanes is the same for every channel, so it is worked out once.
struct PackBlock {
  std::int64_t starts[8];
  EightMask masks[8];  // of a full block: unset
  std::int64_t first;  // lane
  std::int64_t i;      // number of the run
  bool full;
};

// The numbers that all eight lanes have.
struct PackBounds {
  std::int64_t begin, end;
};

inline PackBounds pack_bounds(const PackLines& lines, std::int64_t first) {
  PackBounds bounds{lines.begin[first], lines.end[first]};
  for (int k = 1; k < 8; ++k) {
    bounds.begin = lines.begin[first + k] > bounds.begin ? lines.begin[first + k] : bounds.begin;
    bounds.end = lines.end[first + k] < bounds.end ? lines.end[first + k] : bounds.end;
  }
  return bounds;
}

inline void set_block(const PackLines& lines, PackBounds bounds, std::int64_t first, std::int64_t i, PackBlock& block) {
  block.first = first;
  block.i = i;
  block.full = bounds.begin <= i && i + 8 <= bounds.end;
  for (int k = 0; k < 8; ++k) block.starts[k] = lines.starts[first + k] + i;
  if (block.full) return;
  for (int k = 0; k < 8; ++k) {
    const std::int64_t begin = lines.begin[first + k] > i ? lines.begin[first + k] - i : 0;
    const std::int64_t end = lines.end[first + k] - i < 8 ? lines.end[first + k] - i : 8;
    const bool any = begin < end;
    // Where nothing is read the address is one that could be.
    if (!any) block.starts[k] = 0;
    block.masks[k] = any ? eight_mask(begin, end) : eight_mask(0, 0);
  }
}

template <bool FULL>
inline void pack_eights(const PackLines& lines, const PackBlock& block, const float* source, float* packed) {
  const std::int64_t count = lines.count - block.i < 8 ? lines.count - block.i : 8;
  Eight rows[8];
  SECATEUR_UNROLL
  for (int k = 0; k < 8; ++k) {
    rows[k] = FULL ? load_eight(source + block.starts[k]) : load_eight(source + block.starts[k], block.masks[k]);
  }
  transpose(rows);
  const std::int32_t* const places = lines.places + block.i;
  SECATEUR_UNROLL
  for (int k = 0; k < 8; ++k) {
    if (k < count && places[k] >= 0) store_eight(packed + places[k], rows[k]);
  }
}

// Up to PANEL_CHANNELS rows side by side, input by input; rows that are not there are zero. Writes two floats too many
// where panels are of six: whoever packs the next rows after these writes over them.
void pack_rows(const float* source, std::int64_t row_step, std::int64_t rows, std::int64_t count, float* to) {
  static_assert(PANEL_CHANNELS <= 8, "rows of a block");
  for (std::int64_t i = 0; i < count; i += 8) {
    const std::int64_t inputs = count - i < 8 ? count - i : 8;
    const EightMask mask = eight_mask(0, inputs);
    Eight block[8];
    SECATEUR_UNROLL
    for (int row = 0; row < 8; ++row) {
      const bool there = row < PANEL_CHANNELS && row < rows;
      block[row] = there ? load_eight(source + row * row_step + i, mask) : zero_eight();
    }
    transpose(block);
    for (std::int64_t k = 0; k < inputs; ++k) store_eight(to + (i + k) * PANEL_CHANNELS, block[k]);
  }
}

// What is read of the lanes is worked out where it is read.
void pack_channel(const PackLines& lines) {
  for (std::int64_t first = 0; first < LANES; first += 8) {
    const PackBounds bounds = pack_bounds(lines, first);
    for (std::int64_t i = 0; i < lines.count; i += 8) {
      PackBlock block;
      set_block(lines, bounds, first, i, block);
      float* const to = lines.packed + first;
      block.full ? pack_eights<true>(lines, block, lines.source, to) : pack_eights<false>(lines, block, lines.source, to);
    }
  }
}

// Channel by channel, and all of its blocks at once, as they are in one page.
void pack_lines(const PackLines& lines) {
  if (lines.channels == 1) return pack_channel(lines);
  constexpr std::int64_t TOGETHER = 8;
  PackBlock blocks[TOGETHER];
  std::int64_t first = 0;
  std::int64_t i = 0;
  PackBounds bounds = pack_bounds(lines, 0);
  while (first < LANES) {
    std::int64_t count = 0;
    for (; count < TOGETHER && first < LANES; ++count) {
      set_block(lines, bounds, first, i, blocks[count]);
      i += 8;
      if (i < lines.count) continue;
      i = 0;
      first += 8;
      if (first < LANES) bounds = pack_bounds(lines, first);
    }
    const float* source = lines.source;
    float* packed = lines.packed;
    for (std::int64_t channel = 0; channel < lines.channels; ++channel) {
      for (std::int64_t b = 0; b < count; ++b) {
        float* const to = packed + blocks[b].first;
        // The next channel's lie pages away.
        for (int k = 0; k < 8 && channel + 1 < lines.channels; ++k) {
          __builtin_prefetch(source + lines.source_step + blocks[b].starts[k]);
        }
        blocks[b].full ? pack_eights<true>(lines, blocks[b], source, to) : pack_eights<false>(lines, blocks[b], source, to);
      }
      source += lines.source_step;
      packed += lines.packed_step;
    }
  }
}

// vmaskmovps stores are microcoded on AMD (a dozen cycles); these are at most three stores.
inline void store_first(float* p, std::int64_t n, Vec x) {
#if SECATEUR_ISA_NUMBER == 2
  __m128 low = _mm256_castps256_ps128(x.v);
  if ((n & 4) != 0) {
    _mm_storeu_ps(p, low);
    low = _mm256_extractf128_ps(x.v, 1);
    p += 4;
  }
  if ((n & 2) != 0) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), low);
    low = _mm_movehl_ps(low, low);
    p += 2;
  }
  if ((n & 1) != 0) _mm_store_ss(p, low);
#else
  store_part(p, n, x);
#endif
}

template <ActivationKind KIND>
inline Vec finished(Vec x, Activation activation, Vec alpha, Vec beta) {
  // The others cost so much that a switch a vector does not matter.
  if constexpr (KIND == ActivationKind::exp) return activate(x, activation);
  return activated<KIND>(x, alpha, beta);
}

template <ActivationKind KIND>
struct Kind {
  static constexpr ActivationKind value = KIND;
};

// Calls run(Kind<...>) with a kind that `finished` knows.
template <class Run>
inline void for_kind(ActivationKind kind, Run run) {
  switch (kind) {
    case ActivationKind::none: return run(Kind<ActivationKind::none>{});
    case ActivationKind::relu: return run(Kind<ActivationKind::relu>{});
    case ActivationKind::clip: return run(Kind<ActivationKind::clip>{});
    default: return run(Kind<ActivationKind::exp>{});
  }
}

template <ActivationKind KIND, bool BIASES, bool RESIDUAL>
void finish_as(const FinishLine& line) {
  const Vec bias = set(line.bias);
  const Vec alpha = set(line.activation.alpha);
  const Vec beta = set(line.activation.beta);
  std::int64_t i = 0;
  for (; i + LANES <= line.count; i += LANES) {
    Vec x = load(line.sums + i) + (BIASES ? load(line.biases + i) : bias);
    if constexpr (RESIDUAL) x = x + load(line.residual + i);
    store(line.output + i, finished<KIND>(x, line.activation, alpha, beta));
  }
  const std::int64_t rest = line.count - i;
  if (rest > 0) {
    Vec x = load_part(line.sums + i, rest) + (BIASES ? load_part(line.biases + i, rest) : bias);
    if constexpr (RESIDUAL) x = x + load_part(line.residual + i, rest);
    store_first(line.output + i, rest, finished<KIND>(x, line.activation, alpha, beta));
  }
}

template <ActivationKind KIND>
void finish_kind(const FinishLine& line) {
  if (line.biases != nullptr) {
    line.residual != nullptr ? finish_as<KIND, true, true>(line) : finish_as<KIND, true, false>(line);
  } else {
    line.residual != nullptr ? finish_as<KIND, false, true>(line) : finish_as<KIND, false, false>(line);
  }
}

void finish_line(const FinishLine& line) {
  for_kind(line.activation.kind, [&](auto kind) { finish_kind<decltype(kind)::value>(line); });
}

// Eight numbers of a lane, or the first of them.
template <ActivationKind KIND, bool RESIDUAL>
inline void finish_eight(const FinishLanes& lines, Eight sums, Eight bias, std::int64_t to, std::int64_t count) {
  const bool full = count >= 8;
  Eight x = sums + bias;
  if constexpr (RESIDUAL) {
    const float* const residual = lines.residual + to;
    x = x + (full ? load_eight(residual) : load_eight(residual, eight_mask(0, count)));
  }
  if constexpr (KIND == ActivationKind::relu) {
    x = max(zero_eight(), x);
  } else if constexpr (KIND == ActivationKind::clip) {
    x = min(low_eight(set(lines.activation.beta)), max(low_eight(set(lines.activation.alpha)), x));
  } else if constexpr (KIND != ActivationKind::none) {
    x = low_eight(activate(widened(x), lines.activation));
  }
  full ? store_eight(lines.output + to, x) : store_first(lines.output + to, count, widened(x));
}

template <ActivationKind KIND, bool RESIDUAL>
void finish_lanes_as(const FinishLanes& given) {
  // A copy of our own: what is stored could be a part of the other.
  const FinishLanes lines = given;
  for (std::int64_t i = 0; i < lines.count; i += 8) {
    const std::int64_t last = lines.count - i < 8 ? lines.count - i - 1 : 7;
    const float* from[8];
    for (std::int64_t k = 0; k < 8; ++k) {
      const std::int64_t at = i + (k < last ? k : last);
      from[k] = lines.sums + (lines.places[at] + lines.channel * lines.steps[at]);
    }
    const Eight bias = lines.biases == nullptr ? low_eight(set(lines.bias))
                                               : load_eight(lines.biases + i, eight_mask(0, last + 1));
    for (std::int64_t first = 0; first < LANES; first += 8) {
      Eight block[8];
      SECATEUR_UNROLL
      for (int k = 0; k < 8; ++k) block[k] = load_eight(from[k] + first);
      transpose(block);
      SECATEUR_UNROLL
      for (int k = 0; k < 8; ++k) {
        const std::int64_t count = lines.counts[first + k] - i;
        if (count > 0) finish_eight<KIND, RESIDUAL>(lines, block[k], bias, lines.to[first + k] + i, count);
      }
    }
  }
}

template <ActivationKind KIND>
void finish_lanes_kind(const FinishLanes& lines) {
  lines.residual != nullptr ? finish_lanes_as<KIND, true>(lines) : finish_lanes_as<KIND, false>(lines);
}

void finish_lanes(const FinishLanes& lines) {
  for_kind(lines.activation.kind, [&](auto kind) { finish_lanes_kind<decltype(kind)::value>(lines); });
}

// HEIGHT and WIDTH are zero where they are not known when this is compiled.
template <ActivationKind KIND, int HEIGHT, int WIDTH>
void pool_window(const PoolBand& band, const std::int64_t* pixels, float* pooled) {
  const std::int64_t height = HEIGHT > 0 ? HEIGHT : band.window_height;
  const std::int64_t width = WIDTH > 0 ? WIDTH : band.window_width;
  const Vec alpha = set(band.activation.alpha);
  const Vec beta = set(band.activation.beta);
  const float* from[MAX_POOL * MAX_POOL];
  std::int64_t steps[MAX_POOL * MAX_POOL];
  for (std::int64_t t = 0; t < height * width; ++t) {
    from[t] = band.sums + band.places[pixels[t]];
    steps[t] = band.steps[pixels[t]];
  }
  for (std::int64_t channel = 0; channel < band.channels; ++channel) {
    const Vec bias = set(band.biases == nullptr ? 0.0f : band.biases[channel]);
    const auto tap = [&](std::int64_t t) {
      return finished<KIND>(load(from[t] + channel * steps[t]) + bias, band.activation, alpha, beta);
    };
    const auto column = [&](std::int64_t c) {
      Vec most = tap(c);
      for (std::int64_t r = 1; r < height; ++r) most = max(most, tap(r * width + c));
      return most;
    };
    Vec most = column(0);
    for (std::int64_t c = 1; c < width; ++c) most = max(most, column(c));
    store(pooled, most);
    pooled += band.pooled_step;
  }
}

// Window by window, all channels of each: from channel to channel its pixels lie constant steps apart.
template <ActivationKind KIND>
void pool_kind(const PoolBand& band) {
  const bool two = band.window_height == 2 && band.window_width == 2;
  for (std::int64_t row = 0; row < band.rows; ++row) {
    for (std::int64_t column = 0; column < band.columns; ++column) {
      std::int64_t pixels[MAX_POOL * MAX_POOL];
      std::int64_t* next = pixels;
      for (std::int64_t r = row * band.window_height; r < (row + 1) * band.window_height; ++r) {
        for (std::int64_t c = column * band.window_width; c < (column + 1) * band.window_width; ++c) {
          *next++ = r * band.columns * band.window_width + c;
        }
      }
      float* const pooled = band.pooled + (row * band.columns + column) * LANES;
      two ? pool_window<KIND, 2, 2>(band, pixels, pooled) : pool_window<KIND, 0, 0>(band, pixels, pooled);
    }
  }
}

void pool_band(const PoolBand& band) {
  for_kind(band.activation.kind, [&](auto kind) { pool_kind<decltype(kind)::value>(band); });
}

void pair_maxima(const float* upper, const float* lower, float* maxima, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += LANES) {
    const Vec left = max(load_even(upper + 2 * i), load_even(lower + 2 * i));
    const Vec right = max(load_even(upper + 2 * i + 1), load_even(lower + 2 * i + 1));
    const Vec most = max(left, right);
    count - i >= LANES ? store(maxima + i, most) : store_first(maxima + i, count - i, most);
  }
}

void widen(const void* values, ValueType type, std::int64_t count, float* out) {
  if (type == ValueType::float32) {
    std::memcpy(out, values, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  const std::uint16_t* const from = static_cast<const std::uint16_t*>(values);
  for (std::int64_t i = 0; i < count; i += LANES) {
    const std::int64_t rest = count - i;
    if (rest >= LANES) {
      store(out + i, type == ValueType::float16 ? widen_half(from + i) : widen_brain(from + i));
    } else {
      std::uint16_t last[LANES] = {};
      std::memcpy(last, from + i, static_cast<std::size_t>(rest) * sizeof(std::uint16_t));
      store_first(out + i, rest, type == ValueType::float16 ? widen_half(last) : widen_brain(last));
    }
  }
}

}  // namespace
}  // namespace secateur::SECATEUR_ISA
