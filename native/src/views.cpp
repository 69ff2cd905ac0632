// Steps whose output is a strided view of their source: slice, transpose, expand.
#include <algorithm>
#include <array>
#include <cstring>

#include "sizes.h"

namespace secateur {
namespace {

constexpr std::int64_t GRAIN = 16384;  // of floats
// A tile of a transposition reads and writes whole cache lines.
constexpr std::int64_t TILE = 16;

struct Dimension {
  std::int64_t size = 1;
  std::int64_t stride = 0;  // of the source
};

// The innermost first, without those of size 1, neighbours merged where one walk goes over both.
std::vector<Dimension> merged(const Shape& sizes, const Shape& strides) {
  std::vector<Dimension> dimensions;
  for (std::size_t i = sizes.size(); i-- > 0;) {
    if (sizes[i] == 1) continue;
    if (!dimensions.empty() && strides[i] == dimensions.back().stride * dimensions.back().size) {
      dimensions.back().size *= sizes[i];
    } else {
      dimensions.push_back({sizes[i], strides[i]});
    }
  }
  if (dimensions.empty()) dimensions.push_back({1, 1});
  return dimensions;
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides(shape.size(), 0);
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

// Row by row along the innermost dimension.
class View final : public Step {
 public:
  View(Ref source, Ref output, std::int64_t base, std::vector<Dimension> dimensions, std::int64_t count)
      : source_(source),
        output_(output),
        base_(base),
        dimensions_(std::move(dimensions)),
        count_(count),
        items_(item_count(count, dimensions_[0].stride == 1 ? 1 : 2, GRAIN)) {}

  std::int64_t items() const noexcept override { return items_; }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    float* output = memory.write<float>(output_);
    const std::int64_t last = count_ * end / items_;
    std::int64_t at = count_ * begin / items_;
    if (at == last) return;
    const Dimension& inner = dimensions_[0];
    std::array<std::int64_t, MOST_DIMENSIONS> index{};
    std::int64_t offset = base_;
    std::int64_t rest = at / inner.size;
    for (std::size_t d = 1; d < dimensions_.size(); ++d) {
      index[d] = rest % dimensions_[d].size;
      rest /= dimensions_[d].size;
      offset += index[d] * dimensions_[d].stride;
    }
    std::int64_t column = at % inner.size;
    while (at < last) {
      const std::int64_t run = std::min(inner.size - column, last - at);
      row(memory.read<float>(source_) + offset + column * inner.stride, output + at, run);
      at += run;
      column = 0;
      for (std::size_t d = 1; d < dimensions_.size(); ++d) {
        offset += dimensions_[d].stride;
        if (++index[d] < dimensions_[d].size) break;
        offset -= dimensions_[d].stride * dimensions_[d].size;
        index[d] = 0;
      }
    }
  }

 private:
  void row(const float* from, float* to, std::int64_t count) const noexcept {
    const std::int64_t stride = dimensions_[0].stride;
    if (stride == 1) {
      std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
    } else if (stride == 0) {
      std::fill(to, to + count, *from);
    } else {
      for (std::int64_t i = 0; i < count; ++i) to[i] = from[i * stride];
    }
  }

  Ref source_, output_;
  std::int64_t base_;
  std::vector<Dimension> dimensions_;
  std::int64_t count_, items_;
};

// Numbers of two or three places of the source in turns, along a dimension in which it is contiguous: images interlaced
// (the phases of a transposed convolution) or repeated. Row by row of two numbers each took four times as long.
class Interlaced final : public Step {
 public:
  Interlaced(Ref source, Ref output, std::int64_t base, std::vector<Dimension> dimensions, std::int64_t count)
      : source_(source),
        output_(output),
        base_(base),
        dimensions_(std::move(dimensions)),
        groups_(count / dimensions_[0].size),
        items_(item_count(groups_, dimensions_[0].size, GRAIN)) {}

  static bool fits(const std::vector<Dimension>& dimensions) {
    return dimensions.size() >= 2 && (dimensions[0].size == 2 || dimensions[0].size == 3) && dimensions[0].stride != 1 &&
           dimensions[1].stride == 1 && dimensions[1].size >= 4;
  }

  std::int64_t items() const noexcept override { return items_; }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    const std::int64_t count = dimensions_[0].size;
    const std::int64_t last = groups_ * end / items_;
    for (std::int64_t at = groups_ * begin / items_; at < last;) {
      const std::int64_t column = at % dimensions_[1].size;
      const std::int64_t run = std::min(dimensions_[1].size - column, last - at);
      const float* from = memory.read<float>(source_) + base_ + column;
      std::int64_t rest = at / dimensions_[1].size;
      for (std::size_t d = 2; d < dimensions_.size(); ++d) {
        from += rest % dimensions_[d].size * dimensions_[d].stride;
        rest /= dimensions_[d].size;
      }
      float* to = memory.write<float>(output_) + at * count;
      if (count == 2) {
        interlace<2>(from, to, run);
      } else {
        interlace<3>(from, to, run);
      }
      at += run;
    }
  }

 private:
  template <int COUNT>
  void interlace(const float* __restrict from, float* __restrict to, std::int64_t run) const noexcept {
    const std::int64_t stride = dimensions_[0].stride;
    for (std::int64_t i = 0; i < run; ++i) {
      for (int j = 0; j < COUNT; ++j) to[i * COUNT + j] = from[j * stride + i];
    }
  }

  Ref source_, output_;
  std::int64_t base_;
  std::vector<Dimension> dimensions_;
  std::int64_t groups_, items_;
};

// Where the source runs along another dimension than the output: tile by tile over these two.
class Tiles final : public Step {
 public:
  // `along` is the dimension in which the source is contiguous.
  Tiles(Ref source, Ref output, std::int64_t base, std::vector<Dimension> dimensions, std::size_t along)
      : source_(source), output_(output), base_(base), dimensions_(std::move(dimensions)), along_(along) {
    strides_.assign(dimensions_.size(), 1);
    for (std::size_t d = 1; d < dimensions_.size(); ++d) strides_[d] = strides_[d - 1] * dimensions_[d - 1].size;
    bands_ = ceil_div(dimensions_[along].size, TILE);
    for (std::size_t d = 1; d < dimensions_.size(); ++d) {
      if (d != along) bands_ *= dimensions_[d].size;
    }
    items_ = item_count(bands_, TILE * dimensions_[0].size * 2, GRAIN);
  }

  std::int64_t items() const noexcept override { return items_; }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    const std::int64_t last = bands_ * end / items_;
    for (std::int64_t band = bands_ * begin / items_; band < last; ++band) {
      const float* from = memory.read<float>(source_) + base_;
      float* to = memory.write<float>(output_);
      std::int64_t rest = band;
      const std::int64_t tiles = ceil_div(dimensions_[along_].size, TILE);
      const std::int64_t first = rest % tiles * TILE;
      rest /= tiles;
      for (std::size_t d = 1; d < dimensions_.size(); ++d) {
        if (d == along_) continue;
        from += rest % dimensions_[d].size * dimensions_[d].stride;
        to += rest % dimensions_[d].size * strides_[d];
        rest /= dimensions_[d].size;
      }
      const std::int64_t height = std::min(TILE, dimensions_[along_].size - first);
      for (std::int64_t x = 0; x < dimensions_[0].size; x += TILE) {
        tile(from + first + x * dimensions_[0].stride, to + first * strides_[along_] + x, height,
             std::min(TILE, dimensions_[0].size - x));
      }
    }
  }

 private:
  void tile(const float* from, float* to, std::int64_t height, std::int64_t width) const noexcept {
    const std::int64_t from_stride = dimensions_[0].stride;
    const std::int64_t to_stride = strides_[along_];
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x) to[y * to_stride + x] = from[x * from_stride + y];
    }
  }

  Ref source_, output_;
  std::int64_t base_;
  std::vector<Dimension> dimensions_;
  std::size_t along_;
  Shape strides_;  // of the output
  std::int64_t bands_, items_;
};

std::unique_ptr<Step> make_view(Ref source, Ref output, std::int64_t base, const Shape& sizes, const Shape& strides) {
  require(sizes.size() <= MOST_DIMENSIONS, "at most 12 dimensions, found " + text(sizes));
  std::vector<Dimension> dimensions = merged(sizes, strides);
  if (Interlaced::fits(dimensions)) {
    return std::make_unique<Interlaced>(source, output, base, std::move(dimensions), elements(sizes));
  }
  if (dimensions[0].stride != 1 && dimensions[0].size >= 4) {
    for (std::size_t d = 1; d < dimensions.size(); ++d) {
      if (dimensions[d].stride == 1 && dimensions[d].size >= 4) {
        return std::make_unique<Tiles>(source, output, base, std::move(dimensions), d);
      }
    }
  }
  return std::make_unique<View>(source, output, base, std::move(dimensions), elements(sizes));
}

}  // namespace

std::unique_ptr<Step> make_slice(Ref source, Ref output, const Shape& shape_in, const Shape& starts, const Shape& steps,
                                 const Shape& shape_out) {
  const std::size_t rank = shape_in.size();
  require(starts.size() == rank && steps.size() == rank && shape_out.size() == rank,
          "a slice has a start, a step and a size for each of " + std::to_string(rank) + " dimensions");
  elements(shape_in);
  elements(shape_out);
  Shape strides = contiguous_strides(shape_in);
  std::int64_t base = 0;
  for (std::size_t i = 0; i < rank; ++i) {
    if (shape_out[i] == 0) return make_copy(source, output, 0);
    require(steps[i] != 0, "dimension " + std::to_string(i) + ": a step is not 0");
    std::int64_t walk = 0;
    const bool beyond = __builtin_mul_overflow(steps[i], shape_out[i] - 1, &walk) ||
                        __builtin_add_overflow(walk, starts[i], &walk) || starts[i] < 0 || starts[i] >= shape_in[i] ||
                        walk < 0 || walk >= shape_in[i];
    require(!beyond, "dimension " + std::to_string(i) + ": " + std::to_string(shape_out[i]) + " elements from " +
                         std::to_string(starts[i]) + " in steps of " + std::to_string(steps[i]) + " leave a size of " +
                         std::to_string(shape_in[i]));
    base += starts[i] * strides[i];
    strides[i] *= shape_out[i] == 1 ? 0 : steps[i];
  }
  return make_view(source, output, base, shape_out, strides);
}

std::unique_ptr<Step> make_transpose(Ref source, Ref output, const Shape& shape_in, const Shape& permutation) {
  const std::size_t rank = shape_in.size();
  elements(shape_in);
  std::vector<bool> seen(rank, false);
  require(permutation.size() == rank, "a permutation of " + std::to_string(rank) + " dimensions, found " + text(permutation));
  const Shape strides = contiguous_strides(shape_in);
  Shape sizes;
  Shape permuted;
  for (const std::int64_t from : permutation) {
    require(0 <= from && from < static_cast<std::int64_t>(rank) && !seen[static_cast<std::size_t>(from)],
            "a permutation of " + std::to_string(rank) + " dimensions, found " + text(permutation));
    const auto i = static_cast<std::size_t>(from);
    seen[i] = true;
    sizes.push_back(shape_in[i]);
    permuted.push_back(strides[i]);
  }
  return make_view(source, output, 0, sizes, permuted);
}

std::unique_ptr<Step> make_expand(Ref source, Ref output, const Shape& shape_in, const Shape& shape_out) {
  elements(shape_in);
  elements(shape_out);
  require(shape_in.size() <= shape_out.size(), "the shape " + text(shape_in) + " does not broadcast to " + text(shape_out));
  Shape strides(shape_out.size(), 0);
  const Shape own = contiguous_strides(shape_in);
  for (std::size_t i = 0; i < shape_in.size(); ++i) {
    const std::size_t o = i + shape_out.size() - shape_in.size();
    require(shape_in[i] == shape_out[o] || shape_in[i] == 1,
            "the shape " + text(shape_in) + " does not broadcast to " + text(shape_out));
    if (shape_in[i] != 1) strides[o] = own[i];
  }
  return make_view(source, output, 0, shape_out, strides);
}

}  // namespace secateur
