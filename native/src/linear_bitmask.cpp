#include <algorithm>

#include "line_layout.h"
#include "linear_steps.h"
#include "matrix_entries.h"

namespace secateur {
namespace {

// Some ten microseconds: three or four cycles a vector of inputs.
constexpr std::int64_t SMALL_POSITIONS = 120'000;
constexpr std::int64_t ITEMS = 16;
constexpr std::int64_t TOGETHER = 64;  // lines whose sums are finished at once

class BitmaskLinear final : public WeightedStep {
 public:
  BitmaskLinear(const WeightedKernels& kernels, const LinearShape& shape, const Matrix& weights, const LayerRefs& refs)
      : kernels_(kernels),
        shape_(shape),
        lines_(to_bitmask(weights)),
        reads_matrix_(lines_.reads(weights)),
        home_(home_of(weights.entries * value_bytes(weights.type))),
        refs_(refs) {
    const bool small = shape.in * shape.out * shape.rows <= SMALL_POSITIONS;
    // Eight lines go side by side.
    item_lines_ = small ? shape.out : std::max<std::int64_t>(8, (shape.out / ITEMS + 7) / 8 * 8);
  }

  std::size_t packed_bytes() const noexcept override { return lines_.size(); }
  bool reads_matrix() const noexcept override { return reads_matrix_; }
  std::int64_t items() const noexcept override { return (shape_.out + item_lines_ - 1) / item_lines_; }
  std::size_t scratch_bytes() const noexcept override {
    return carved_bytes([this](Carver& parts) { carve(parts); });
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    Carver parts(scratch);
    float* const sums = carve(parts);
    const std::int64_t last = std::min(end * item_lines_, shape_.out);
    for (std::int64_t first = begin * item_lines_; first < last; first += TOGETHER) {
      multiply(first, std::min(first + TOGETHER, last), memory, sums);
    }
  }

 private:
  float* carve(Carver& parts) const noexcept { return parts.take<float>(static_cast<std::size_t>(TOGETHER * shape_.rows)); }

  void multiply(std::int64_t first, std::int64_t last, const Memory& memory, float* sums) const noexcept {
    const Matrix& view = lines_.view;
    kernels_.bitmask({view.values, view.type, static_cast<const std::uint8_t*>(view.indices), view.starts, view.entries,
                      first, last, shape_.in, shape_.rows, home_, memory.read<float>(refs_.source), sums});
    for (std::int64_t row = 0; row < shape_.rows; ++row) {
      finish_outputs(kernels_, shape_, refs_, memory, row, first, last - first, sums + row * (last - first));
    }
  }

  const WeightedKernels& kernels_;
  const LinearShape shape_;
  const OwnedLines lines_;
  const bool reads_matrix_;
  const Home home_;
  const LayerRefs refs_;
  std::int64_t item_lines_ = 1;
};

}  // namespace

std::unique_ptr<WeightedStep> make_bitmask_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                  const Matrix& weights, const LayerRefs& refs) {
  return std::make_unique<BitmaskLinear>(kernels, shape, weights, refs);
}

}  // namespace secateur
