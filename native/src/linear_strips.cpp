#include <algorithm>

#include "linear_steps.h"
#include "matrix_entries.h"
#include "sizes.h"
#include "strip_weights.h"

namespace secateur {
namespace {

// Some five microseconds: two threads would take as long.
constexpr std::int64_t SMALL_ENTRIES = 40'000;
constexpr std::int64_t ITEMS = 16;

class StripLinear final : public WeightedStep {
 public:
  StripLinear(const WeightedKernels& kernels, const LinearShape& shape, const Matrix& weights, const LayerRefs& refs)
      : kernels_(kernels), shape_(shape), weights_(pack_strips(weights, kernels)), refs_(refs) {
    const bool small = weights.entries * shape.rows <= SMALL_ENTRIES;
    blocks_ = small ? weights_.blocks : ceil_div(weights_.blocks, ITEMS);
  }

  std::size_t packed_bytes() const noexcept override { return weights_.bytes(); }
  std::int64_t items() const noexcept override { return ceil_div(weights_.blocks, blocks_); }
  std::size_t scratch_bytes() const noexcept override {
    return carved_bytes([this](Carver& parts) { carve(parts); });
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    Carver parts(scratch);
    float* const sums = carve(parts);
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t block = item * blocks_;
      multiply(block, std::min(blocks_, weights_.blocks - block), memory, sums);
    }
  }

 private:
  float* carve(Carver& parts) const noexcept {
    return parts.take<float>(static_cast<std::size_t>(shape_.rows * blocks_ * kernels_.lanes));
  }

  void multiply(std::int64_t block, std::int64_t blocks, const Memory& memory, float* sums) const noexcept {
    const StripWeights& w = weights_;
    const std::uint32_t entry = w.first_entry[static_cast<std::size_t>(block)];
    kernels_.strips({w.values.get() + entry * value_bytes(w.type), w.type, w.indices.data() + entry,
                     w.widths.data() + w.first_step[static_cast<std::size_t>(block)], w.counts.data() + block * w.strips,
                     w.places.data() + block * w.strips * kernels_.lanes, shape_.in, blocks, shape_.rows,
                     memory.read<float>(refs_.source), sums});
    const std::int64_t first = block * kernels_.lanes;
    const std::int64_t outputs = std::min(blocks * kernels_.lanes, shape_.out - first);
    for (std::int64_t row = 0; row < shape_.rows; ++row) {
      finish_outputs(kernels_, shape_, refs_, memory, row, first, outputs, sums + row * blocks * kernels_.lanes);
    }
  }

  const WeightedKernels& kernels_;
  const LinearShape shape_;
  const StripWeights weights_;
  const LayerRefs refs_;
  std::int64_t blocks_;  // of an item
};

}  // namespace

std::unique_ptr<WeightedStep> make_strips_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                 const Matrix& weights, const LayerRefs& refs) {
  return std::make_unique<StripLinear>(kernels, shape, weights, refs);
}

}  // namespace secateur
