#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "sizes.h"

namespace secateur {
namespace {

constexpr std::int64_t GRAIN = 32768;  // of floats
constexpr std::int64_t PIECE = 1024;   // of an output row: it stays in the first cache while rows are added to it

struct Dimension {
  std::int64_t size = 1, stride = 1;
};

// The offset of the index-th element of these dimensions, the innermost first.
std::int64_t offset_of(std::int64_t index, const std::vector<Dimension>& dimensions) {
  std::int64_t offset = 0;
  for (const Dimension& d : dimensions) {
    offset += index % d.size * d.stride;
    index /= d.size;
  }
  return offset;
}

std::int64_t count_of(const std::vector<Dimension>& dimensions) {
  std::int64_t count = 1;
  for (const Dimension& d : dimensions) count *= d.size;
  return count;
}

// Rows of the source are contiguous runs along its innermost dimension, which is either reduced (a row becomes one
// number) or kept (rows are added to each other).
class Reduce final : public Step {
 public:
  Reduce(Isa isa, ReduceKind kind, Ref source, Ref output, bool inner_reduced, std::int64_t inner, std::vector<Dimension> kept,
         std::vector<Dimension> reduced)
      : kernels_(SECATEUR_KERNELS(isa, reduce_kernels)),
        kind_(kind),
        source_(source),
        output_(output),
        inner_reduced_(inner_reduced),
        inner_(inner),
        kept_(std::move(kept)),
        reduced_(std::move(reduced)),
        reduced_count_(count_of(reduced_)),
        pieces_(inner_reduced ? 1 : ceil_div(inner, PIECE)),
        units_(count_of(kept_) * pieces_),
        items_(item_count(units_, reduced_count_ * (inner_reduced ? inner : std::min(inner, PIECE)), GRAIN)) {}

  std::int64_t items() const noexcept override { return items_; }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    const float* source = memory.read<float>(source_);
    float* output = memory.write<float>(output_);
    const std::int64_t last = units_ * end / items_;
    for (std::int64_t unit = units_ * begin / items_; unit < last; ++unit) {
      const float* from = source + offset_of(unit / pieces_, kept_);
      if (inner_reduced_) {
        output[unit] = row(from);
      } else {
        const std::int64_t first = unit % pieces_ * PIECE;
        rows(from + first, output + unit / pieces_ * inner_ + first, std::min(PIECE, inner_ - first));
      }
    }
  }

 private:
  float row(const float* from) const noexcept {
    float total = kernels_.row(kind_, from, inner_);
    for (std::int64_t r = 1; r < reduced_count_; ++r) {
      const float next = kernels_.row(kind_, from + offset_of(r, reduced_), inner_);
      kernels_.accumulate(kind_, &total, &next, 1);
    }
    return kind_ == ReduceKind::mean ? total / static_cast<float>(reduced_count_ * inner_) : total;
  }

  void rows(const float* from, float* to, std::int64_t count) const noexcept {
    std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
    for (std::int64_t r = 1; r < reduced_count_; ++r) kernels_.accumulate(kind_, to, from + offset_of(r, reduced_), count);
    if (kind_ != ReduceKind::mean) return;
    const auto divisor = static_cast<float>(reduced_count_);
    for (std::int64_t i = 0; i < count; ++i) to[i] /= divisor;
  }

  const ReduceKernels& kernels_;
  ReduceKind kind_;
  Ref source_, output_;
  bool inner_reduced_;
  std::int64_t inner_;
  std::vector<Dimension> kept_, reduced_;  // without the innermost
  std::int64_t reduced_count_, pieces_, units_, items_;
};

}  // namespace

std::unique_ptr<Step> make_reduce(Isa isa, ReduceKind kind, Ref source, Ref output, const Shape& shape_in,
                                  const Shape& axes) {
  const std::size_t rank = shape_in.size();
  require(rank <= MOST_DIMENSIONS, "at most 12 dimensions, found " + text(shape_in));
  elements(shape_in);
  std::vector<bool> is_reduced(rank, false);
  for (const std::int64_t axis : axes) {
    require(0 <= axis && axis < static_cast<std::int64_t>(rank) && !is_reduced[static_cast<std::size_t>(axis)],
            "axes of " + std::to_string(rank) + " dimensions, each once, found " + text(axes));
    require(shape_in[static_cast<std::size_t>(axis)] > 0, "nothing to reduce in an empty dimension");
    is_reduced[static_cast<std::size_t>(axis)] = true;
  }
  std::vector<Dimension> dimensions;
  std::vector<bool> kinds;
  std::int64_t stride = 1;
  for (std::size_t i = rank; i-- > 0;) {
    if (shape_in[i] == 1) continue;
    if (!kinds.empty() && kinds.back() == is_reduced[i]) {
      dimensions.back().size *= shape_in[i];
    } else {
      dimensions.push_back({shape_in[i], stride});
      kinds.push_back(is_reduced[i]);
    }
    stride *= shape_in[i];
  }
  if (dimensions.empty()) {
    dimensions.push_back({1, 1});
    kinds.push_back(false);
  }
  std::vector<Dimension> kept;
  std::vector<Dimension> reduced;
  for (std::size_t d = 1; d < dimensions.size(); ++d) (kinds[d] ? reduced : kept).push_back(dimensions[d]);
  return std::make_unique<Reduce>(isa, kind, source, output, kinds[0], dimensions[0].size, std::move(kept), std::move(reduced));
}

}  // namespace secateur
