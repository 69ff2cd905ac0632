#include <algorithm>
#include <array>
#include <cstring>

#include "sizes.h"

namespace secateur {
namespace {

constexpr std::int64_t GRAIN = 16384;  // of floats
constexpr std::int64_t OUTSIDE = -1;

// Which element of the source stands at a place of one dimension.
std::int64_t padded_index(std::int64_t place, std::int64_t size, PadMode mode) {
  if (0 <= place && place < size) return place;
  switch (mode) {
    case PadMode::constant: return OUTSIDE;
    case PadMode::edge: return place < 0 ? 0 : size - 1;
    case PadMode::reflect: {
      if (size == 1) return 0;
      const std::int64_t period = 2 * (size - 1);
      const std::int64_t phase = (place % period + period) % period;
      return std::min(phase, period - phase);
    }
  }
  return OUTSIDE;
}

class Pad final : public Step {
 public:
  Pad(Ref source, Ref output, const Shape& shape_in, const Shape& before, const Shape& shape_out, PadMode mode, float value)
      : source_(source), output_(output), rank_(shape_in.size()), before_(before.back()), inner_in_(shape_in.back()), value_(value) {
    std::int64_t stride = 1;
    for (std::size_t d = 0; d < rank_; ++d) {
      const std::size_t from = rank_ - 1 - d;
      sizes_[d] = shape_out[from];
      strides_[d] = stride;
      stride *= shape_in[from];
      for (std::int64_t o = 0; o < shape_out[from]; ++o) {
        indices_[d].push_back(padded_index(o - before[from], shape_in[from], mode));
      }
    }
    rows_ = elements(shape_out) / sizes_[0];
    items_ = item_count(rows_, sizes_[0] + 8, GRAIN);
  }

  std::int64_t items() const noexcept override { return items_; }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    const float* source = memory.read<float>(source_);
    float* output = memory.write<float>(output_);
    const std::int64_t last = rows_ * end / items_;
    for (std::int64_t r = rows_ * begin / items_; r < last; ++r) {
      std::int64_t rest = r;
      std::int64_t offset = 0;
      bool outside = false;
      for (std::size_t d = 1; d < rank_; ++d) {
        const std::int64_t index = indices_[d][static_cast<std::size_t>(rest % sizes_[d])];
        rest /= sizes_[d];
        outside = outside || index == OUTSIDE;
        offset += index * strides_[d];
      }
      float* row = output + r * sizes_[0];
      if (outside) {
        std::fill(row, row + sizes_[0], value_);
      } else {
        pad_row(source + offset, row);
      }
    }
  }

 private:
  void pad_row(const float* from, float* to) const noexcept {
    const auto border = [&](std::int64_t i) {
      const std::int64_t index = indices_[0][static_cast<std::size_t>(i)];
      to[i] = index == OUTSIDE ? value_ : from[index];
    };
    for (std::int64_t i = 0; i < before_; ++i) border(i);
    std::memcpy(to + before_, from, static_cast<std::size_t>(inner_in_) * sizeof(float));
    for (std::int64_t i = before_ + inner_in_; i < sizes_[0]; ++i) border(i);
  }

  Ref source_, output_;
  std::size_t rank_;
  std::int64_t before_, inner_in_;
  float value_;
  // The innermost dimension first.
  std::array<std::int64_t, MOST_DIMENSIONS> sizes_{}, strides_{};
  std::array<Shape, MOST_DIMENSIONS> indices_;
  std::int64_t rows_, items_;
};

}  // namespace

std::unique_ptr<Step> make_pad(Ref source, Ref output, const Shape& shape_in, const Shape& before, const Shape& shape_out,
                               PadMode mode, float value) {
  const std::size_t rank = shape_in.size();
  require(1 <= rank && rank <= MOST_DIMENSIONS, "a pad has 1 to 12 dimensions, found " + text(shape_in));
  require(before.size() == rank && shape_out.size() == rank,
          "a pad has a number before and a size for each of " + std::to_string(rank) + " dimensions");
  elements(shape_in);
  elements(shape_out);
  for (std::size_t i = 0; i < rank; ++i) {
    require(before[i] >= 0 && before[i] <= shape_out[i] - shape_in[i],
            "dimension " + std::to_string(i) + ": " + std::to_string(shape_in[i]) + " after " + std::to_string(before[i]) +
                " do not fit in " + std::to_string(shape_out[i]));
    require(shape_in[i] > 0 || mode == PadMode::constant || shape_out[i] == 0, "nothing to reflect in an empty dimension");
  }
  if (elements(shape_out) == 0) return make_copy(source, output, 0);
  return std::make_unique<Pad>(source, output, shape_in, before, shape_out, mode, value);
}

}  // namespace secateur
