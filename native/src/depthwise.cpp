#include "depthwise.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "matrix_entries.h"

namespace secateur {
namespace {

constexpr double SMALL_PRODUCTS = 150e3;  // about ten microseconds, the copy included
constexpr std::int64_t MAX_ITEMS = 16;

// A channel is copied into a plane with its padding, the columns of a stride's phase together; then every tap is an
// offset, and rows are computed directly. Loads across lines cost less here than shifted copies: nine products an
// output pay for no packing.
class Depthwise final : public WeightedStep {
 public:
  Depthwise(const WeightedKernels& kernels, const ConvolutionShape& shape, const Matrix& weights, const LayerRefs& refs)
      : kernels_(kernels), shape_(shape), refs_(refs) {
    const ConvolutionShape& s = shape_;
    rows_ = (s.out_height - 1) * s.stride_height + (s.kernel_height - 1) * s.dilation_height + 1;
    columns_ = (s.out_width - 1) * s.stride_width + (s.kernel_width - 1) * s.dilation_width + 1;
    phase_pitch_ = (columns_ + s.stride_width - 1) / s.stride_width + kernels.lanes;
    for (std::int64_t row = 0; row < s.kernel_height; ++row) {
      for (std::int64_t column = 0; column < s.kernel_width; ++column) {
        const std::int64_t shift = column * s.dilation_width;
        offsets_.push_back(static_cast<std::int32_t>(row * s.dilation_height * pitch() +
                                                     shift % s.stride_width * phase_pitch_ + shift / s.stride_width));
      }
    }
    const std::int64_t taps = s.kernel_height * s.kernel_width;
    weights_.assign(static_cast<std::size_t>(s.out_channels * taps), 0.0f);
    each_nonzero(weights, [&](std::int64_t channel, std::int64_t tap, std::int64_t entry) {
      const std::byte* const value = static_cast<const std::byte*>(weights.values) + entry * value_bytes(weights.type);
      kernels.widen(value, weights.type, 1, &weights_[static_cast<std::size_t>(channel * taps + tap)]);
    });
    const std::int64_t planes = s.images * s.in_channels;
    const double products = static_cast<double>(s.images * s.out_channels * s.out_height * s.out_width * taps);
    planes_ = products <= SMALL_PRODUCTS ? planes : (planes + MAX_ITEMS - 1) / MAX_ITEMS;
  }

  std::size_t packed_bytes() const noexcept override { return weights_.size() * sizeof(float); }
  std::int64_t items() const noexcept override { return (shape_.images * shape_.in_channels + planes_ - 1) / planes_; }
  std::size_t scratch_bytes() const noexcept override {
    return carved_bytes([this](Carver& parts) { carve(parts); });
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    Carver parts(scratch);
    const Scratch s = carve(parts);
    std::fill_n(s.plane, plane_floats(), 0.0f);
    const std::int64_t all = shape_.images * shape_.in_channels;
    for (std::int64_t plane = begin * planes_; plane < std::min(end * planes_, all); ++plane) {
      copy_plane(memory.read<float>(refs_.source) + plane * shape_.in_height * shape_.in_width, s.plane);
      const std::int64_t multiplier = shape_.out_channels / shape_.in_channels;
      for (std::int64_t i = 0; i < multiplier; ++i) filter(plane * multiplier + i, memory, s);
    }
  }

 private:
  struct Scratch {
    float* plane;
    float* sums;
  };

  std::int64_t pitch() const noexcept { return phase_pitch_ * shape_.stride_width; }
  std::size_t plane_floats() const noexcept { return static_cast<std::size_t>(rows_ * pitch() + 4 * kernels_.lanes); }
  Scratch carve(Carver& parts) const noexcept {
    Scratch s;
    s.plane = parts.take<float>(plane_floats());
    s.sums = parts.take<float>(static_cast<std::size_t>(shape_.out_width + kernels_.lanes));
    return s;
  }

  // The padding is zero from the beginning and stays so.
  void copy_plane(const float* source, float* plane) const noexcept {
    const ConvolutionShape& s = shape_;
    const std::int64_t first_row = std::max<std::int64_t>(0, s.pad_top);
    const std::int64_t last_row = std::min(rows_, s.in_height + s.pad_top);
    const std::int64_t last = std::min(columns_, s.in_width + s.pad_left);
    for (std::int64_t row = first_row; row < last_row; ++row) {
      const float* const from = source + (row - s.pad_top) * s.in_width;
      float* const to = plane + row * pitch();
      if (s.stride_width == 1) {
        if (last > s.pad_left) {
          std::memcpy(to + s.pad_left, from, static_cast<std::size_t>(last - s.pad_left) * sizeof(float));
        }
        continue;
      }
      for (std::int64_t phase = 0; phase < s.stride_width; ++phase) {
        const std::int64_t skipped =
            std::max<std::int64_t>(0, s.pad_left - phase + s.stride_width - 1) / s.stride_width;
        for (std::int64_t i = skipped; i * s.stride_width + phase < last; ++i) {
          to[phase * phase_pitch_ + i] = from[i * s.stride_width + phase - s.pad_left];
        }
      }
    }
  }

  // `index` counts the planes of the output; `s.plane` holds its input.
  void filter(std::int64_t index, const Memory& memory, const Scratch& s) const noexcept {
    const std::int64_t channel = index % shape_.out_channels;
    const std::int64_t taps = static_cast<std::int64_t>(offsets_.size());
    const float* const bias = memory.read<float>(refs_.bias);
    const float* const residual = memory.read<float>(refs_.residual);
    float* const output = memory.write<float>(refs_.output);
    for (std::int64_t row = 0; row < shape_.out_height; ++row) {
      kernels_.depthwise({s.plane + row * shape_.stride_height * pitch(), offsets_.data(),
                          weights_.data() + channel * taps, taps, shape_.out_width, s.sums});
      const std::int64_t to = (index * shape_.out_height + row) * shape_.out_width;
      kernels_.finish({s.sums, nullptr, residual == nullptr ? nullptr : residual + to, output + to, shape_.out_width,
                       bias == nullptr ? 0.0f : bias[channel], refs_.activation});
    }
  }

  const WeightedKernels& kernels_;
  const ConvolutionShape shape_;
  const LayerRefs refs_;
  std::int64_t rows_, columns_, phase_pitch_, planes_;
  std::vector<std::int32_t> offsets_;
  std::vector<float> weights_;
};

}  // namespace

std::unique_ptr<WeightedStep> make_depthwise(const WeightedKernels& kernels, const ConvolutionShape& shape,
                                             const Matrix& weights, const LayerRefs& refs) {
  return std::make_unique<Depthwise>(kernels, shape, weights, refs);
}

}  // namespace secateur
