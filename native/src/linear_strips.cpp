#include <algorithm>
#include <cstring>

#include "linear_steps.h"
#include "strip_weights.h"

namespace secateur {
namespace {

// Some five microseconds: two threads would take as long.
constexpr std::int64_t SMALL_ENTRIES = 40'000;
constexpr std::int64_t ITEMS = 8;

class StripLinear final : public WeightedStep {
 public:
  StripLinear(const WeightedKernels& kernels, const LinearShape& shape, const Matrix& weights, const LayerRefs& refs)
      : kernels_(kernels), shape_(shape), weights_(pack_strips(weights, kernels)), refs_(refs) {
    const bool small = weights.entries * shape.rows <= SMALL_ENTRIES;
    blocks_ = small ? weights_.blocks : (weights_.blocks + ITEMS - 1) / ITEMS;
  }

  std::size_t packed_bytes() const noexcept override { return weights_.bytes(); }
  std::int64_t items() const noexcept override { return (weights_.blocks + blocks_ - 1) / blocks_; }
  std::size_t scratch_bytes() const noexcept override {
    return carved_bytes([this](Carver& parts) { carve(parts); });
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    if (begin >= end) return;
    Carver parts(scratch);
    const Scratch s = carve(parts);
    const std::int64_t first = begin * blocks_;
    const std::int64_t blocks = std::min(end * blocks_, weights_.blocks) - first;
    const std::int64_t output = first * kernels_.lanes;
    const std::int64_t outputs = std::min(blocks * kernels_.lanes, shape_.out - output);
    const std::byte* const pairs =
        weights_.pairs.get() + weights_.starts[static_cast<std::size_t>(first)] * weights_.pair_bytes;
    std::memset(s.x + shape_.in, 0, static_cast<std::size_t>(weights_.strips * kernels_.strip - shape_.in) * 4);
    for (std::int64_t row = 0; row < shape_.rows; ++row) {
      std::memcpy(s.x, memory.read<float>(refs_.source) + row * shape_.in, static_cast<std::size_t>(shape_.in) * 4);
      kernels_.strips({pairs, weights_.counts.data() + first * weights_.strips, weights_.strips, blocks, s.x, s.sums});
      finish_outputs(kernels_, shape_, refs_, memory, row, output, outputs, s.sums);
    }
  }

 private:
  struct Scratch {
    float* x;
    float* sums;
  };

  Scratch carve(Carver& parts) const noexcept {
    Scratch s;
    s.x = parts.take<float>(static_cast<std::size_t>(weights_.strips * kernels_.strip));
    s.sums = parts.take<float>(static_cast<std::size_t>(weights_.blocks * kernels_.lanes));
    return s;
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
