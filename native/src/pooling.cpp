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
    for (std::int64_t k = 0; k < kernel; ++k) {
      const std::int64_t i = o * stride - before + k * dilation;
      if (low <= i && i < high) counts[static_cast<std::size_t>(o)] += 1.0f;
    }
  }
  return counts;
}

// The columns first: the rows of a window become one row, which vectorises whatever the stride, and then that row's
// windows. The row lies in scratch between borders of padding.
class Pool2d final : public Step {
 public:
  Pool2d(Isa isa, PoolKind kind, Ref source, Ref output, const PoolShape& shape, bool count_padding)
      : kernels_(SECATEUR_KERNELS(isa, pool_kernels)),
        kind_(kind),
        source_(source),
        output_(output),
        s_(shape),
        rows_(shape.images * shape.channels * shape.out_height),
        items_(item_count(rows_, shape.kernel_height * shape.in_width + shape.kernel_width * shape.out_width, GRAIN)),
        padded_(std::max(shape.pad_left + shape.in_width,
                         (shape.out_width - 1) * shape.stride_width + (shape.kernel_width - 1) * shape.dilation_width + 1) +
                POOL_SLACK) {
    if (kind == PoolKind::max) return;
    row_counts_ = window_counts(shape.out_height, shape.in_height, shape.kernel_height, shape.stride_height,
                                shape.dilation_height, shape.pad_top, shape.pad_bottom, count_padding);
    column_counts_ = window_counts(shape.out_width, shape.in_width, shape.kernel_width, shape.stride_width,
                                   shape.dilation_width, shape.pad_left, shape.pad_right, count_padding);
  }

  std::int64_t items() const noexcept override { return items_; }

  std::size_t scratch_bytes() const noexcept override {
    return static_cast<std::size_t>(padded_) * sizeof(float) + static_cast<std::size_t>(s_.kernel_height) * sizeof(float*);
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    const float* source = memory.read<float>(source_);
    float* output = memory.write<float>(output_);
    auto** taps = reinterpret_cast<const float**>(scratch);
    auto* row = reinterpret_cast<float*>(taps + s_.kernel_height);
    const float nothing = kind_ == PoolKind::max ? -std::numeric_limits<float>::infinity() : 0.0f;
    std::fill(row, row + padded_, nothing);
    const std::int64_t last = rows_ * end / items_;
    for (std::int64_t r = rows_ * begin / items_; r < last; ++r) {
      const std::int64_t y = r % s_.out_height;
      const float* plane = source + r / s_.out_height * s_.in_height * s_.in_width;
      std::int64_t count = 0;
      for (std::int64_t k = 0; k < s_.kernel_height; ++k) {
        const std::int64_t in = y * s_.stride_height - s_.pad_top + k * s_.dilation_height;
        if (0 <= in && in < s_.in_height) taps[count++] = plane + in * s_.in_width;
      }
      float* inside = row + s_.pad_left;
      if (count > 0) {
        kernels_.rows(kind_, taps, count, inside, s_.in_width);
      } else {
        std::fill(inside, inside + s_.in_width, nothing);
      }
      float* out = output + r * s_.out_width;
      kernels_.columns(kind_, row, s_.kernel_width, s_.stride_width, s_.dilation_width, out, s_.out_width);
      if (kind_ == PoolKind::average) {
        kernels_.divide(out, column_counts_.data(), row_counts_[static_cast<std::size_t>(y)], s_.out_width);
      }
    }
  }

 private:
  const PoolKernels& kernels_;
  PoolKind kind_;
  Ref source_, output_;
  PoolShape s_;
  std::int64_t rows_, items_;
  std::int64_t padded_;  // the length of a row with its borders, as far as the last window's vectors reach
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
