#include <algorithm>
#include <limits>

#include "kernels.h"
#include "sizes.h"

namespace secateur {
namespace {

constexpr std::int64_t GRAIN = 16384;  // of numbers read

// How many numbers each window of one dimension divides by.
std::vector<float> window_counts(std::int64_t out, std::int64_t in, std::int64_t kernel, std::int64_t stride,
                                 std::int64_t dilation, std::int64_t before, std::int64_t after, bool count_padding) {
  const std::int64_t low = count_padding ? -before : 0;
  const std::int64_t high = count_padding ? in + after : in;
  std::vector<float> counts(static_cast<std::size_t>(out), 0.0f);
  for (std::int64_t o = 0; o < out; ++o) {
    const std::int64_t start = o * stride - before;
    const std::int64_t first = start < low ? ceil_div(low - start, dilation) : 0;
    const std::int64_t end = start < high ? std::min(kernel, ceil_div(high - start, dilation)) : 0;
    counts[static_cast<std::size_t>(o)] = static_cast<float>(std::max<std::int64_t>(end - first, 0));
  }
  return counts;
}

// A pool whose kernel is not wider than what its windows can meet: a file may say 2^30, most of it padding, and every
// number of it would be gone through. What is left out lies left or right of the source for each window.
PoolShape trimmed(const PoolShape& shape) {
  PoolShape s = shape;
  const std::int64_t last_start = (s.out_width - 1) * s.stride_width - s.pad_left;
  const std::int64_t left = last_start < 0 ? -last_start / s.dilation_width : 0;
  const std::int64_t end = std::min(s.kernel_width, ceil_div(s.in_width + s.pad_left, s.dilation_width));
  if (left == 0 && end == s.kernel_width) return s;
  s.kernel_width = end - left;
  s.pad_left -= left * s.dilation_width;
  return s;
}

// A block of rows of scratch stays in the first cache.
constexpr std::int64_t BLOCK = 4096;

// The columns first: the rows of a window become one row, which vectorises whatever the stride, and then that row's
// windows. Blocks of such rows lie in scratch between borders of padding.
class Pool2d final : public Step {
 public:
  Pool2d(Isa isa, PoolKind kind, Ref source, Ref output, const PoolShape& shape, bool count_padding)
      : kernels_(SECATEUR_KERNELS(isa, pool_kernels)),
        kind_(kind),
        source_(source),
        output_(output),
        s_(trimmed(shape)),
        rows_(shape.images * shape.channels * shape.out_height),
        items_(item_count(rows_, std::min(s_.kernel_height, s_.in_height) * s_.in_width + s_.kernel_width * s_.out_width,
                          GRAIN)),
        even_rows_(windows_tile(shape.in_height, shape.out_height, shape.kernel_height, shape.stride_height,
                                shape.dilation_height, shape.pad_top)),
        even_columns_(
            windows_tile(s_.in_width, s_.out_width, s_.kernel_width, s_.stride_width, s_.dilation_width, s_.pad_left)),
        pitch_(std::max(s_.pad_left + s_.in_width,
                        (s_.out_width - 1) * s_.stride_width + (s_.kernel_width - 1) * s_.dilation_width + 1)),
        block_(std::max<std::int64_t>(BLOCK / pitch_, 1)) {
    if (kind == PoolKind::max) return;
    row_counts_ = window_counts(shape.out_height, shape.in_height, shape.kernel_height, shape.stride_height,
                                shape.dilation_height, shape.pad_top, shape.pad_bottom, count_padding);
    column_counts_ = window_counts(shape.out_width, shape.in_width, shape.kernel_width, shape.stride_width,
                                   shape.dilation_width, shape.pad_left, shape.pad_right, count_padding);
  }

  std::int64_t items() const noexcept override { return items_; }

  std::size_t scratch_bytes() const noexcept override {
    return static_cast<std::size_t>(block_ * pitch_ + POOL_SLACK) * sizeof(float);
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    const float* source = memory.read<float>(source_);
    float* output = memory.write<float>(output_);
    auto* block = reinterpret_cast<float*>(scratch);
    std::fill(block, block + block_ * pitch_ + POOL_SLACK, nothing());
    const std::int64_t last = rows_ * end / items_;
    for (std::int64_t r = rows_ * begin / items_; r < last;) {
      const Taps taps = taps_of(r);
      const std::int64_t count = std::min({block_, last - r, taps.alike});
      pool_block(source + taps.first, taps.count, block, output + r * s_.out_width, count);
      if (kind_ == PoolKind::average) divide(output + r * s_.out_width, r, count);
      r += count;
    }
  }

 private:
  // Which rows of the source an output row needs, and how many output rows in a row need rows of the same pattern.
  struct Taps {
    std::int64_t first, count, alike;
  };

  // Whether the windows of one dimension lie one after another and fill it: then there is no border between lines.
  static bool windows_tile(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                           std::int64_t dilation, std::int64_t before) {
    return before == 0 && (kernel - 1) * dilation < stride && in == out * stride;
  }

  float nothing() const { return kind_ == PoolKind::max ? -std::numeric_limits<float>::infinity() : 0.0f; }

  Taps taps_of(std::int64_t r) const noexcept {
    if (even_rows_) return {r * s_.stride_height * s_.in_width, s_.kernel_height, rows_ - r};
    const std::int64_t y = r % s_.out_height;
    const std::int64_t plane = r / s_.out_height * s_.in_height;
    const std::int64_t top = y * s_.stride_height - s_.pad_top;
    const std::int64_t begin = top < 0 ? ceil_div(-top, s_.dilation_height) : 0;
    const std::int64_t room = s_.in_height - top;
    const std::int64_t end = room <= 0 ? 0 : std::min(s_.kernel_height, ceil_div(room, s_.dilation_height));
    const Taps taps{(plane + top + begin * s_.dilation_height) * s_.in_width, std::max<std::int64_t>(end - begin, 0), 1};
    if (taps.count < s_.kernel_height) return taps;
    // All rows from here to the last whose window is inside.
    const std::int64_t reach = s_.in_height - (s_.kernel_height - 1) * s_.dilation_height - 1;
    return {taps.first, taps.count, std::min((reach + s_.pad_top) / s_.stride_height + 1, s_.out_height) - y};
  }

  void pool_block(const float* source, std::int64_t taps, float* block, float* output, std::int64_t count) const noexcept {
    float* inside = block + s_.pad_left;
    if (taps > 0) {
      kernels_.rows(kind_, source, s_.stride_height * s_.in_width, taps, s_.dilation_height * s_.in_width, inside, pitch_,
                    s_.in_width, count);
    } else {
      std::fill(inside, inside + s_.in_width, nothing());
    }
    if (even_columns_) {
      kernels_.columns(kind_, block, 0, s_.kernel_width, s_.stride_width, s_.dilation_width, output, 0,
                       count * s_.out_width, 1);
    } else {
      kernels_.columns(kind_, block, pitch_, s_.kernel_width, s_.stride_width, s_.dilation_width, output, s_.out_width,
                       s_.out_width, count);
    }
  }

  void divide(float* output, std::int64_t row, std::int64_t count) const noexcept {
    for (std::int64_t i = 0; i < count; ++i) {
      const auto y = static_cast<std::size_t>((row + i) % s_.out_height);
      kernels_.divide(output + i * s_.out_width, column_counts_.data(), row_counts_[y], s_.out_width);
    }
  }

  const PoolKernels& kernels_;
  PoolKind kind_;
  Ref source_, output_;
  PoolShape s_;
  std::int64_t rows_, items_;
  bool even_rows_, even_columns_;
  std::int64_t pitch_;  // the length of a row with its borders, as far as the last window reaches
  std::int64_t block_;  // rows
  std::vector<float> row_counts_, column_counts_;
};

}  // namespace

std::unique_ptr<Step> make_pool(Isa isa, PoolKind kind, Ref source, Ref output, const PoolShape& shape,
                                bool count_padding) {
  const PoolShape& s = shape;
  elements({s.images, s.channels, s.in_height, s.in_width});
  elements({s.images, s.channels, s.out_height, s.out_width});
  require(std::min({s.in_height, s.in_width, s.out_height, s.out_width}) >= 1, "a pool has at least one place in and out");
  require(std::min({s.kernel_height, s.kernel_width, s.stride_height, s.stride_width, s.dilation_height,
                    s.dilation_width}) >= 1,
          "a pool's kernel, strides and dilations are at least 1");
  require(std::min({s.pad_top, s.pad_left, s.pad_bottom, s.pad_right}) >= 0, "a pool's padding is not negative");
  constexpr std::int64_t MOST = 1 << 30;
  require(std::max({s.kernel_height, s.kernel_width, s.stride_height, s.stride_width, s.dilation_height, s.dilation_width,
                    s.pad_top, s.pad_left, s.pad_bottom, s.pad_right}) < MOST,
          "a pool's kernel, strides, dilations and padding are below 2^30");
  elements({s.out_width, s.stride_width});
  elements({s.kernel_width, s.dilation_width});
  // A window that lies outside altogether has no largest number and no mean. Only the first and the last can.
  const auto inside = [](std::int64_t out, std::int64_t in, std::int64_t stride, std::int64_t dilation, std::int64_t kernel,
                         std::int64_t before) {
    return (kernel - 1) * dilation >= before && (out - 1) * stride - before < in;
  };
  require(inside(s.out_height, s.in_height, s.stride_height, s.dilation_height, s.kernel_height, s.pad_top) &&
              inside(s.out_width, s.in_width, s.stride_width, s.dilation_width, s.kernel_width, s.pad_left),
          "a pool's window lies outside its input");
  return std::make_unique<Pool2d>(isa, kind, source, output, shape, count_padding);
}

}  // namespace secateur
