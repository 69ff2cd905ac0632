#include <algorithm>
#include <array>
#include <limits>

#include "kernels.h"
#include "sizes.h"

namespace secateur {
namespace {

// About ten microseconds of the cheapest functions.
constexpr std::int64_t GRAIN = 32768;
// A binary step's activation follows while the numbers are in the first cache.
constexpr std::int64_t PIECE = 2048;

class Elementwise final : public Step {
 public:
  Elementwise(Isa isa, Ref source, Ref output, std::int64_t count, Activation activation)
      : kernels_(SECATEUR_KERNELS(isa, elementwise_kernels)),
        source_(source),
        output_(output),
        count_(count),
        items_(item_count(count, 1, GRAIN)),
        activation_(activation) {}

  std::int64_t items() const noexcept override { return items_; }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    const std::int64_t first = count_ * begin / items_;
    const std::int64_t last = count_ * end / items_;
    kernels_.activate(memory.read<float>(source_) + first, memory.write<float>(output_) + first, last - first, activation_);
  }

 private:
  const ElementwiseKernels& kernels_;
  Ref source_, output_;
  std::int64_t count_, items_;
  Activation activation_;
};

// One dimension of the broadcast, after those that can be walked as one have been merged.
struct Dimension {
  std::int64_t size = 1, left = 0, right = 0;
};

// Strides of a contiguous tensor along the output's dimensions: 0 where it is broadcast.
Shape broadcast_strides(const Shape& shape, const Shape& output) {
  require(shape.size() <= output.size(), "a shape of " + std::to_string(shape.size()) + " dimensions does not broadcast to " +
                                             std::to_string(output.size()));
  Shape strides(output.size(), 0);
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    const std::size_t o = i + output.size() - shape.size();
    require(shape[i] == output[o] || shape[i] == 1, "the shape " + text(shape) + " does not broadcast to " + text(output));
    if (shape[i] != 1) strides[o] = stride;
    stride *= shape[i];
  }
  return strides;
}

std::vector<Dimension> merged(const Shape& left_shape, const Shape& right_shape, const Shape& output) {
  const Shape left = broadcast_strides(left_shape, output);
  const Shape right = broadcast_strides(right_shape, output);
  std::vector<Dimension> dimensions;
  for (std::size_t i = output.size(); i-- > 0;) {
    if (output[i] == 1) continue;
    const Dimension next{output[i], left[i], right[i]};
    if (!dimensions.empty()) {
      Dimension& inner = dimensions.back();
      if (next.left == inner.left * inner.size && next.right == inner.right * inner.size) {
        inner.size *= next.size;
        continue;
      }
    }
    dimensions.push_back(next);
  }
  if (dimensions.empty()) dimensions.push_back({1, 1, 1});
  return dimensions;
}

class Binary final : public Step {
 public:
  Binary(Isa isa, BinaryKind kind, Ref left, Ref right, Ref output, std::vector<Dimension> dimensions, std::int64_t count,
         Activation activation)
      : kernels_(SECATEUR_KERNELS(isa, elementwise_kernels)),
        kind_(kind),
        left_(left),
        right_(right),
        output_(output),
        dimensions_(std::move(dimensions)),
        count_(count),
        items_(item_count(count, kind == BinaryKind::power ? 16 : 1, GRAIN)),
        activation_(activation) {}

  std::int64_t items() const noexcept override { return items_; }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    const float* left = memory.read<float>(left_);
    const float* right = memory.read<float>(right_);
    float* output = memory.write<float>(output_);
    const std::int64_t last = count_ * end / items_;
    std::int64_t at = count_ * begin / items_;
    if (at == last) return;
    const Dimension& inner = dimensions_[0];
    std::array<std::int64_t, MOST_DIMENSIONS> index{};
    std::int64_t left_offset = 0;
    std::int64_t right_offset = 0;
    std::int64_t rest = at / inner.size;
    for (std::size_t d = 1; d < dimensions_.size(); ++d) {
      index[d] = rest % dimensions_[d].size;
      rest /= dimensions_[d].size;
      left_offset += index[d] * dimensions_[d].left;
      right_offset += index[d] * dimensions_[d].right;
    }
    std::int64_t column = at % inner.size;
    while (at < last) {
      const std::int64_t piece = std::min({inner.size - column, last - at, PIECE});
      kernels_.binary(kind_, left + left_offset + column * inner.left, inner.left, right + right_offset + column * inner.right,
                      inner.right, output + at, piece);
      if (activation_.kind != ActivationKind::none) kernels_.activate(output + at, output + at, piece, activation_);
      at += piece;
      column += piece;
      if (column < inner.size) continue;
      column = 0;
      for (std::size_t d = 1; d < dimensions_.size(); ++d) {
        left_offset += dimensions_[d].left;
        right_offset += dimensions_[d].right;
        if (++index[d] < dimensions_[d].size) break;
        left_offset -= dimensions_[d].left * dimensions_[d].size;
        right_offset -= dimensions_[d].right * dimensions_[d].size;
        index[d] = 0;
      }
    }
  }

 private:
  const ElementwiseKernels& kernels_;
  BinaryKind kind_;
  Ref left_, right_, output_;
  std::vector<Dimension> dimensions_;  // the innermost first
  std::int64_t count_, items_;
  Activation activation_;
};

}  // namespace

std::unique_ptr<Step> make_elementwise(Isa isa, Ref source, Ref output, std::int64_t count, Activation activation) {
  elements({count});
  return std::make_unique<Elementwise>(isa, source, output, count, activation);
}

std::unique_ptr<Step> make_binary(Isa isa, BinaryKind kind, Ref left, Ref right, Ref output, const Shape& left_shape,
                                  const Shape& right_shape, const Shape& output_shape, Activation activation) {
  require(output_shape.size() <= MOST_DIMENSIONS, "at most 12 dimensions, found " + text(output_shape));
  const std::int64_t count = elements(output_shape);
  elements(left_shape);
  elements(right_shape);
  return std::make_unique<Binary>(isa, kind, left, right, output, merged(left_shape, right_shape, output_shape), count,
                                  activation);
}

}  // namespace secateur
