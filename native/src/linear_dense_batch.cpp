#include <algorithm>
#include <cstring>
#include <vector>

#include "full_walk.h"
#include "linear_steps.h"
#include "matrix_entries.h"
#include "sizes.h"

namespace secateur {
namespace {

constexpr std::int64_t BLOCK = 128;  // inputs: a tile's weights of them stay in the first-level cache for all rows

// The panels' kernel with the parts exchanged: its pixels are outputs, a few vectors of them side by side, and its
// channels are rows of the batch. A weight is loaded with its neighbours, once for several rows.
class DenseBatch final : public WeightedStep {
 public:
  DenseBatch(const WeightedKernels& kernels, const LinearShape& shape, const Matrix& weights, const LayerRefs& refs)
      : kernels_(kernels),
        shape_(shape),
        refs_(refs),
        tile_(kernels.panel_pixels * kernels.lanes),
        tiles_(ceil_div(shape.out, tile_)),
        vectors_(ceil_div(shape.out, kernels.lanes)),
        panels_(ceil_div(shape.rows, kernels.panel_channels)),
        bytes_(static_cast<std::size_t>(tiles_ * tile_ * shape.in) * sizeof(float)),
        weights_(aligned_bytes(bytes_)),
        full_(panels_, BLOCK),
        last_(panels_, shape.in - (shape.in - 1) / BLOCK * BLOCK) {
    write_out(weights);
    const double cycles = 0.5 * static_cast<double>(shape.rows * shape.in * tiles_ * kernels.panel_pixels);
    item_vectors_ = cycles < SMALL_CYCLES ? vectors_ : 1;
    for (int s = 0; s < kernels.panel_pixels; ++s) steps_.push_back(s * kernels.lanes * 4);
    for (std::int64_t i = 0; i < BLOCK; ++i) offsets_.push_back(static_cast<std::int32_t>(i * tile_ * 4));
  }

  std::size_t packed_bytes() const noexcept override { return bytes_; }
  std::int64_t items() const noexcept override { return ceil_div(vectors_, item_vectors_); }
  std::size_t scratch_bytes() const noexcept override {
    return carved_bytes([this](Carver& parts) { carve(parts); });
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    if (begin >= end) return;
    Carver parts(scratch);
    const Scratch s = carve(parts);
    pack(memory.read<float>(refs_.source), s.x);
    // A share may begin and end within a tile: whole tiles leave one of two threads a sixth of its time with nothing to do.
    const std::int64_t last = std::min(end * item_vectors_, vectors_);
    for (std::int64_t vector = begin * item_vectors_; vector < last;) {
      const std::int64_t left = kernels_.panel_pixels - vector % kernels_.panel_pixels;
      const std::int64_t count = std::min(left, last - vector);
      multiply(vector, count, s);
      finish(vector, count, memory, s.sums);
      vector += count;
    }
  }

 private:
  struct Scratch {
    float* x;     // [blocks][panels][inputs of the block][rows of a panel]
    float* sums;  // [rows][outputs of a tile], those that are computed first
  };

  std::int64_t padded_rows() const noexcept { return panels_ * kernels_.panel_channels; }

  Scratch carve(Carver& parts) const noexcept {
    Scratch s;
    s.x = parts.take<float>(static_cast<std::size_t>(padded_rows() * shape_.in) + 8);
    s.sums = parts.take<float>(static_cast<std::size_t>(padded_rows() * tile_));
    return s;
  }

  // [tiles][inputs][outputs of a tile]
  void write_out(const Matrix& weights) {
    float* const packed = reinterpret_cast<float*>(weights_.get());
    std::memset(packed, 0, bytes_);
    each_nonzero(weights, [&](std::int64_t output, std::int64_t input, std::int64_t entry) {
      const std::byte* const value = static_cast<const std::byte*>(weights.values) + entry * value_bytes(weights.type);
      float* const to = packed + (output / tile_ * shape_.in + input) * tile_ + output % tile_;
      if (weights.type == ValueType::float32) {
        std::memcpy(to, value, sizeof(float));
      } else {
        kernels_.widen(value, weights.type, 1, to);
      }
    });
  }

  void pack(const float* source, float* to) const noexcept {
    const std::int64_t together = kernels_.panel_channels;
    for (std::int64_t first = 0; first < shape_.in; first += BLOCK) {
      const std::int64_t count = std::min(BLOCK, shape_.in - first);
      for (std::int64_t panel = 0; panel < panels_; ++panel, to += count * together) {
        const std::int64_t row = panel * together;
        kernels_.pack_rows(source + row * shape_.in + first, shape_.in, shape_.rows - row, count, to);
      }
    }
  }

  // Some vectors of outputs of one tile. While the weights of a block are multiplied, those of the next are on their
  // way, be they the next tile's. (Fetching what is not there does no harm.)
  void multiply(std::int64_t vector, std::int64_t count, const Scratch& s) const noexcept {
    const std::int64_t tile = vector / kernels_.panel_pixels;
    const float* const weights = reinterpret_cast<const float*>(weights_.get()) + tile * tile_ * shape_.in +
                                 vector % kernels_.panel_pixels * kernels_.lanes;
    for (std::int64_t first = 0; first < shape_.in; first += BLOCK) {
      const FullWalk& walk = shape_.in - first <= BLOCK ? last_ : full_;
      kernels_.panel({s.x + first * padded_rows(), walk.indices.data(), walk.counts.data(), offsets_.data(),
                      weights + first * tile_, steps_.data(), 1, kernels_.panel_pixels, count, 0, s.sums,
                      panels_, shape_.rows, first == 0, weights + (first + BLOCK) * tile_});
    }
  }

  void finish(std::int64_t vector, std::int64_t count, const Memory& memory, const float* sums) const noexcept {
    const std::int64_t first = vector * kernels_.lanes;
    const std::int64_t outputs = std::min(count * kernels_.lanes, shape_.out - first);
    for (std::int64_t row = 0; row < shape_.rows; ++row) {
      finish_outputs(kernels_, shape_, refs_, memory, row, first, outputs, sums + row * tile_);
    }
  }

  const WeightedKernels& kernels_;
  const LinearShape shape_;
  const LayerRefs refs_;
  const std::int64_t tile_, tiles_, vectors_, panels_;
  const std::size_t bytes_;
  const AlignedBytes weights_;
  const FullWalk full_, last_;
  std::int64_t item_vectors_ = 1;
  std::vector<std::int32_t> steps_, offsets_;
};

}  // namespace

std::unique_ptr<WeightedStep> make_dense_batch_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                      const Matrix& weights, const LayerRefs& refs) {
  return std::make_unique<DenseBatch>(kernels, shape, weights, refs);
}

}  // namespace secateur
