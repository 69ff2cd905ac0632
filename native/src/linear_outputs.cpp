#include <algorithm>

#include "line_layout.h"
#include "linear_steps.h"
#include "matrix_entries.h"
#include "sizes.h"

namespace secateur {
namespace {

// Ten microseconds and less: sparse entries at one a cycle, dense ones at the speed of the second-level cache.
constexpr std::int64_t SMALL_ENTRIES = 30'000;
constexpr std::int64_t SMALL_DENSE_BYTES = 400'000;
constexpr std::int64_t PARTS = 16;
constexpr std::int64_t TOGETHER = 4;  // lines go side by side

std::int64_t dense_bytes(const Matrix& weights) { return weights.lines * weights.length * value_bytes(weights.type); }

bool is_small(const LinearShape& shape, const Matrix& weights, bool dense) {
  if (!dense) return weights.entries * shape.rows <= SMALL_ENTRIES;
  return dense_bytes(weights) * shape.rows <= SMALL_DENSE_BYTES;
}

LayoutKind walked_as(bool dense, bool small) {
  if (dense) return LayoutKind::dense;
  return small ? LayoutKind::index16 : LayoutKind::gap8;
}

class GatherLinear final : public WeightedStep {
 public:
  GatherLinear(const WeightedKernels& kernels, const LinearShape& shape, const Matrix& weights, const LayerRefs& refs,
               bool dense)
      : kernels_(kernels),
        shape_(shape),
        refs_(refs),
        small_(is_small(shape, weights, dense)),
        home_(home_of(dense_bytes(weights))),
        walked_(weights, walked_as(dense, small_)),
        item_lines_(small_ ? shape.out : TOGETHER),
        part_lines_(ceil_div(ceil_div(shape.out, PARTS), TOGETHER) * TOGETHER) {}

  std::size_t packed_bytes() const noexcept override { return walked_.bytes(); }
  bool reads_matrix() const noexcept override { return walked_.reads_matrix(); }
  std::int64_t items() const noexcept override { return ceil_div(shape_.out, item_lines_); }
  std::size_t scratch_bytes() const noexcept override {
    return aligned_up(static_cast<std::size_t>(part_lines_) * sizeof(float));
  }
  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    float* const sums = reinterpret_cast<float*>(scratch);
    const float* const x = memory.read<float>(refs_.source);
    const Matrix& view = walked_.view();
    const std::int64_t stop = std::min(end * item_lines_, shape_.out);
    // Some lines for all rows, as they stay in a cache.
    for (std::int64_t first = begin * item_lines_; first < stop; first += part_lines_) {
      const std::int64_t last = std::min(first + part_lines_, stop);
      for (std::int64_t row = 0; row < shape_.rows; ++row) {
        kernels_.gather({view.values, view.type, view.layout, view.indices, view.starts, first, last, shape_.in,
                         walked_.line_step(), home_, x + row * shape_.in, sums});
        finish_outputs(kernels_, shape_, refs_, memory, row, first, last - first, sums);
      }
    }
  }

 private:
  const WeightedKernels& kernels_;
  const LinearShape shape_;
  const LayerRefs refs_;
  const bool small_;
  const Home home_;
  const WalkedLines walked_;
  const std::int64_t item_lines_, part_lines_;
};

}  // namespace

std::unique_ptr<WeightedStep> make_outputs_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                  const Matrix& weights, const LayerRefs& refs, bool dense) {
  return std::make_unique<GatherLinear>(kernels, shape, weights, refs, dense);
}

}  // namespace secateur
