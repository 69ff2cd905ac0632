#include <algorithm>
#include <cstring>

#include "line_layout.h"
#include "linear_steps.h"

namespace secateur {
namespace {

// About ten microseconds of a processor core with half of the inputs zero.
constexpr std::int64_t SMALL_ENTRIES = 30'000;
constexpr std::int64_t PARTIALS = 4;
constexpr std::int64_t VECTOR_ENTRIES = 3;

// A vector takes some five cycles, an entry one or two; and what is in place needs no packing.
LayoutKind scattered_as(const WeightedKernels& kernels, const Matrix& weights) {
  const bool many = weights.entries * kernels.lanes >= VECTOR_ENTRIES * weights.lines * weights.length;
  return weights.layout == LayoutKind::bitmask && many ? LayoutKind::bitmask : LayoutKind::gap8;
}

void scatter(const WeightedKernels& kernels, const Matrix& weights, std::int64_t begin, std::int64_t end,
             const float* x, float* sums) noexcept {
  std::memset(sums, 0, static_cast<std::size_t>(weights.length) * sizeof(float));
  if (weights.layout == LayoutKind::bitmask) {
    kernels.scatter_bitmask({weights.values, weights.type, static_cast<const std::uint8_t*>(weights.indices),
                             weights.starts, weights.entries, begin, end, weights.length, 1, Home::core, x, sums});
  } else {
    kernels.scatter({weights.values, weights.type, weights.layout, weights.indices, weights.starts, begin, end, x, sums});
  }
}

// The whole product in one item.
class ScatterAll final : public WeightedStep {
 public:
  ScatterAll(const WeightedKernels& kernels, const LinearShape& shape, const Matrix& weights, const LayerRefs& refs)
      : kernels_(kernels), shape_(shape), lines_(weights, scattered_as(kernels, weights)), refs_(refs) {}

  std::size_t packed_bytes() const noexcept override { return lines_.bytes(); }
  bool reads_matrix() const noexcept override { return lines_.reads_matrix(); }
  std::int64_t items() const noexcept override { return 1; }
  std::size_t scratch_bytes() const noexcept override {
    return aligned_up(static_cast<std::size_t>(shape_.out) * sizeof(float));
  }
  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    if (begin >= end) return;
    float* const sums = reinterpret_cast<float*>(scratch);
    const float* const x = memory.read<float>(refs_.source);
    for (std::int64_t row = 0; row < shape_.rows; ++row) {
      scatter(kernels_, lines_.view(), 0, shape_.in, x + row * shape_.in, sums);
      finish_outputs(kernels_, shape_, refs_, memory, row, 0, shape_.out, sums);
    }
  }

 private:
  const WeightedKernels& kernels_;
  const LinearShape shape_;
  const WalkedLines lines_;
  const LayerRefs refs_;
};

// Partial sums over ranges of inputs with about as many entries each: [rows][PARTIALS][out] in the workspace.
class ScatterPartials final : public WeightedStep {
 public:
  ScatterPartials(const WeightedKernels& kernels, const LinearShape& shape, const Matrix& weights, Ref source,
                  Ref workspace)
      : kernels_(kernels), shape_(shape), lines_(weights, scattered_as(kernels, weights)), source_(source), workspace_(workspace) {
    const std::uint32_t* const starts = lines_.view().starts;
    for (std::int64_t part = 0; part <= PARTIALS; ++part) {
      const std::uint64_t wanted = std::uint64_t{starts[shape.in]} * static_cast<std::uint64_t>(part) / PARTIALS;
      bounds_[part] = part == PARTIALS ? shape.in : std::lower_bound(starts, starts + shape.in, wanted) - starts;
    }
  }

  std::size_t packed_bytes() const noexcept override { return lines_.bytes(); }
  bool reads_matrix() const noexcept override { return lines_.reads_matrix(); }
  std::int64_t items() const noexcept override { return PARTIALS; }
  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    const float* const x = memory.read<float>(source_);
    float* const sums = memory.write<float>(workspace_);
    for (std::int64_t part = begin; part < end; ++part) {
      for (std::int64_t row = 0; row < shape_.rows; ++row) {
        scatter(kernels_, lines_.view(), bounds_[part], bounds_[part + 1], x + row * shape_.in,
                sums + (row * PARTIALS + part) * shape_.out);
      }
    }
  }

 private:
  const WeightedKernels& kernels_;
  const LinearShape shape_;
  const WalkedLines lines_;
  const Ref source_;
  const Ref workspace_;
  std::int64_t bounds_[PARTIALS + 1];
};

class AddPartials final : public WeightedStep {
 public:
  AddPartials(const WeightedKernels& kernels, const LinearShape& shape, const LayerRefs& refs, Ref workspace)
      : kernels_(kernels), shape_(shape), refs_(refs), workspace_(workspace) {}

  std::int64_t items() const noexcept override { return 1; }
  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    if (begin >= end) return;
    constexpr std::int64_t CHUNK = 256;
    for (std::int64_t row = 0; row < shape_.rows; ++row) {
      const float* const parts = memory.read<float>(workspace_) + row * PARTIALS * shape_.out;
      for (std::int64_t first = 0; first < shape_.out; first += CHUNK) {
        const std::int64_t count = std::min(CHUNK, shape_.out - first);
        float sums[CHUNK];
        for (std::int64_t i = 0; i < count; ++i) {
          float sum = parts[first + i];
          for (std::int64_t part = 1; part < PARTIALS; ++part) sum += parts[part * shape_.out + first + i];
          sums[i] = sum;
        }
        finish_outputs(kernels_, shape_, refs_, memory, row, first, count, sums);
      }
    }
  }

 private:
  const WeightedKernels& kernels_;
  const LinearShape shape_;
  const LayerRefs refs_;
  const Ref workspace_;
};

}  // namespace

std::int64_t input_partials(const LinearShape& shape, const Matrix& weights) {
  return weights.entries * shape.rows <= SMALL_ENTRIES ? 1 : PARTIALS;
}

std::vector<std::unique_ptr<WeightedStep>> make_inputs_linear(const WeightedKernels& kernels, const LinearShape& shape,
                                                              const Matrix& weights, const LayerRefs& refs,
                                                              Ref workspace) {
  std::vector<std::unique_ptr<WeightedStep>> steps;
  if (input_partials(shape, weights) == 1) {
    steps.push_back(std::make_unique<ScatterAll>(kernels, shape, weights, refs));
  } else {
    steps.push_back(std::make_unique<ScatterPartials>(kernels, shape, weights, refs.source, workspace));
    steps.push_back(std::make_unique<AddPartials>(kernels, shape, refs, workspace));
  }
  return steps;
}

}  // namespace secateur
