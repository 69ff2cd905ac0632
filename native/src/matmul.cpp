#include <algorithm>

#include "kernels.h"
#include "sizes.h"

namespace secateur {
namespace {

constexpr std::int64_t GRAIN = 200000;  // of products
// Rows that share a packed panel, and its depth: together with the rows it stays in the first two caches.
constexpr std::int64_t ROWS = 96;
constexpr std::int64_t DEPTH = 256;

struct Product {
  std::int64_t left = 0, right = 0;  // offsets of the two matrices
};

class MatMul final : public Step {
 public:
  MatMul(Isa isa, Ref left, Ref right, Ref output, std::vector<Product> products, std::int64_t rows, std::int64_t depth,
         std::int64_t columns)
      : kernels_(SECATEUR_KERNELS(isa, matmul_kernels)),
        left_(left),
        right_(right),
        output_(output),
        products_(std::move(products)),
        rows_(rows),
        depth_(depth),
        columns_(columns),
        panels_(ceil_div(columns, kernels_.columns)),
        bands_(ceil_div(rows, ROWS)),
        units_(static_cast<std::int64_t>(products_.size()) * bands_ * panels_),
        items_(item_count(units_, std::min(rows, ROWS) * std::max<std::int64_t>(depth, 1) * kernels_.columns, GRAIN)) {}

  std::int64_t items() const noexcept override { return items_; }

  std::size_t scratch_bytes() const noexcept override {
    return static_cast<std::size_t>(DEPTH * kernels_.columns) * sizeof(float);
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    auto* panel = reinterpret_cast<float*>(scratch);
    const std::int64_t last = units_ * end / items_;
    for (std::int64_t unit = units_ * begin / items_; unit < last; ++unit) {
      const std::int64_t product = unit / (bands_ * panels_);
      const std::int64_t row = unit / panels_ % bands_ * ROWS;
      const std::int64_t column = unit % panels_ * kernels_.columns;
      const std::int64_t height = std::min(ROWS, rows_ - row);
      const std::int64_t width = std::min(kernels_.columns, columns_ - column);
      const Product& p = products_[static_cast<std::size_t>(product)];
      const float* left = memory.read<float>(left_) + p.left + row * depth_;
      const float* right = memory.read<float>(right_) + p.right + column;
      float* output = memory.write<float>(output_) + (product * rows_ + row) * columns_ + column;
      for (std::int64_t k = 0; k < depth_; k += DEPTH) {
        const std::int64_t depth = std::min(DEPTH, depth_ - k);
        kernels_.pack(right + k * columns_, columns_, depth, width, panel);
        kernels_.multiply(left + k, depth_, height, depth, panel, output, columns_, width, k > 0);
      }
    }
  }

 private:
  const MatMulKernels& kernels_;
  Ref left_, right_, output_;
  std::vector<Product> products_;
  std::int64_t rows_, depth_, columns_, panels_, bands_, units_, items_;
};

// Offsets of the matrices along the leading dimensions, in the order of the output.
Shape matrix_offsets(const Shape& shape, const Shape& output) {
  Shape offsets{0};
  std::int64_t stride = shape[shape.size() - 1] * shape[shape.size() - 2];
  std::vector<std::int64_t> strides(output.size() - 2, 0);
  for (std::size_t i = 2; i < output.size(); ++i) {
    const std::int64_t size = i < shape.size() ? shape[shape.size() - 1 - i] : 1;
    require(size == output[output.size() - 1 - i] || size == 1,
            "the shape " + text(shape) + " does not broadcast to " + text(output));
    if (size != 1) strides[output.size() - 1 - i] = stride;
    stride *= size;
  }
  for (std::size_t d = 0; d + 2 < output.size(); ++d) {
    Shape next;
    for (const std::int64_t offset : offsets) {
      for (std::int64_t i = 0; i < output[d]; ++i) next.push_back(offset + i * strides[d]);
    }
    offsets = std::move(next);
  }
  return offsets;
}

}  // namespace

std::unique_ptr<Step> make_matmul(Isa isa, Ref left, Ref right, Ref output, const Shape& left_shape,
                                  const Shape& right_shape, const Shape& output_shape) {
  const std::size_t rank = output_shape.size();
  require(std::min({left_shape.size(), right_shape.size(), rank}) >= 2 && rank <= MOST_DIMENSIONS,
          "a product is of 2 to 12 dimensions, found " + text(left_shape) + " and " + text(right_shape));
  require(left_shape.size() <= rank && right_shape.size() <= rank,
          "the shapes " + text(left_shape) + " and " + text(right_shape) + " do not give " + text(output_shape));
  elements(left_shape);
  elements(right_shape);
  elements(output_shape);
  const std::int64_t rows = output_shape[rank - 2];
  const std::int64_t columns = output_shape[rank - 1];
  const std::int64_t depth = left_shape.back();
  require(depth >= 1 && left_shape[left_shape.size() - 2] == rows && right_shape[right_shape.size() - 2] == depth &&
              right_shape.back() == columns,
          "the shapes " + text(left_shape) + " and " + text(right_shape) + " do not give " + text(output_shape));
  elements({rows, depth, columns});
  const Shape lefts = matrix_offsets(left_shape, output_shape);
  const Shape rights = matrix_offsets(right_shape, output_shape);
  std::vector<Product> products;
  for (std::size_t i = 0; i < lefts.size(); ++i) products.push_back({lefts[i], rights[i]});
  return std::make_unique<MatMul>(isa, left, right, output, std::move(products), rows, depth, columns);
}

}  // namespace secateur
