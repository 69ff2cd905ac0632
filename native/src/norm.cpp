// Softmax, layer normalisation and local response normalisation.
#include <algorithm>

#include "kernels.h"
#include "sizes.h"

namespace secateur {
namespace {

constexpr std::int64_t GRAIN = 8192;  // of floats
// Columns of a softmax, or places of a plane, that one unit of work takes together: whole cache lines, few enough that
// their neighbours in the other channels stay in the first cache.
constexpr std::int64_t STRIP = 128;

class Softmax final : public Step {
 public:
  Softmax(Isa isa, Ref source, Ref output, std::int64_t outer, std::int64_t size, std::int64_t inner, bool logarithm)
      : kernels_(SECATEUR_KERNELS(isa, norm_kernels)),
        source_(source),
        output_(output),
        size_(size),
        inner_(inner),
        logarithm_(logarithm),
        strips_(ceil_div(inner, STRIP)),
        units_(outer * strips_),
        items_(item_count(units_, size * std::min(inner, STRIP), GRAIN)) {}

  std::int64_t items() const noexcept override { return items_; }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    const float* source = memory.read<float>(source_);
    float* output = memory.write<float>(output_);
    const std::int64_t last = units_ * end / items_;
    for (std::int64_t unit = units_ * begin / items_; unit < last; ++unit) {
      const std::int64_t column = unit % strips_ * STRIP;
      const std::int64_t offset = unit / strips_ * size_ * inner_ + column;
      if (inner_ == 1) {
        kernels_.softmax[logarithm_](source + offset, output + offset, size_);
      } else {
        kernels_.softmax_columns[logarithm_](source + offset, output + offset, size_, inner_, std::min(STRIP, inner_ - column));
      }
    }
  }

 private:
  const NormKernels& kernels_;
  Ref source_, output_;
  std::int64_t size_, inner_;
  bool logarithm_;
  std::int64_t strips_, units_, items_;
};

class LayerNorm final : public Step {
 public:
  LayerNorm(Isa isa, Ref source, Ref output, Ref scale, Ref bias, std::int64_t outer, std::int64_t size, float epsilon)
      : kernels_(SECATEUR_KERNELS(isa, norm_kernels)),
        source_(source),
        output_(output),
        scale_(scale),
        bias_(bias),
        outer_(outer),
        size_(size),
        items_(item_count(outer, size, GRAIN)),
        epsilon_(epsilon) {}

  std::int64_t items() const noexcept override { return items_; }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    const float* source = memory.read<float>(source_);
    float* output = memory.write<float>(output_);
    const std::int64_t last = outer_ * end / items_;
    for (std::int64_t row = outer_ * begin / items_; row < last; ++row) {
      kernels_.layer_norm(source + row * size_, output + row * size_, size_, memory.read<float>(scale_),
                          memory.read<float>(bias_), epsilon_);
    }
  }

 private:
  const NormKernels& kernels_;
  Ref source_, output_, scale_, bias_;
  std::int64_t outer_, size_, items_;
  float epsilon_;
};

// Strip by strip of the plane through all channels; the squares of a window of channels lie in a ring of rows in
// scratch. Each window is summed anew: a running sum would keep the rounding errors of what left it.
class LocalResponseNorm final : public Step {
 public:
  LocalResponseNorm(Isa isa, Ref source, Ref output, const LocalResponseNormShape& shape, std::int64_t size, float alpha,
                    float beta, float k)
      : kernels_(SECATEUR_KERNELS(isa, norm_kernels)),
        source_(source),
        output_(output),
        s_(shape),
        size_(size),
        strips_(ceil_div(shape.plane, STRIP)),
        units_(shape.images * strips_),
        items_(item_count(units_, shape.channels * std::min(shape.plane, STRIP), GRAIN)),
        factor_(alpha / static_cast<float>(size)),
        beta_(beta),
        k_(k) {}

  std::int64_t items() const noexcept override { return items_; }

  std::size_t scratch_bytes() const noexcept override {
    return static_cast<std::size_t>(size_) * (STRIP * sizeof(float) + sizeof(float*));
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    const std::int64_t last = units_ * end / items_;
    for (std::int64_t unit = units_ * begin / items_; unit < last; ++unit) {
      const std::int64_t column = unit % strips_ * STRIP;
      const std::int64_t offset = unit / strips_ * s_.channels * s_.plane + column;
      strip(memory.read<float>(source_) + offset, memory.write<float>(output_) + offset, std::min(STRIP, s_.plane - column),
            scratch);
    }
  }

 private:
  void strip(const float* source, float* output, std::int64_t width, std::byte* scratch) const noexcept {
    auto* ring = reinterpret_cast<float*>(scratch);
    auto** window = reinterpret_cast<const float**>(ring + size_ * STRIP);
    const auto row = [&](std::int64_t channel) { return ring + channel % size_ * STRIP; };
    const std::int64_t ahead = size_ / 2;
    const std::int64_t behind = (size_ - 1) / 2;
    std::int64_t squared = 0;
    for (std::int64_t c = 0; c < s_.channels; ++c) {
      const std::int64_t stop = std::min(c + ahead + 1, s_.channels);
      for (; squared < stop; ++squared) kernels_.square(source + squared * s_.plane, row(squared), width);
      std::int64_t count = 0;
      for (std::int64_t i = std::max<std::int64_t>(c - behind, 0); i < stop; ++i) window[count++] = row(i);
      kernels_.response(source + c * s_.plane, window, count, output + c * s_.plane, width, factor_, beta_, k_);
    }
  }

  const NormKernels& kernels_;
  Ref source_, output_;
  LocalResponseNormShape s_;
  std::int64_t size_, strips_, units_, items_;
  float factor_, beta_, k_;
};

}  // namespace

std::unique_ptr<Step> make_softmax(Isa isa, Ref source, Ref output, std::int64_t outer, std::int64_t size,
                                   std::int64_t inner, bool logarithm) {
  elements({outer, size, inner});
  require(size >= 1, "a softmax is over at least one number");
  return std::make_unique<Softmax>(isa, source, output, outer, size, inner, logarithm);
}

std::unique_ptr<Step> make_layer_norm(Isa isa, Ref source, Ref output, Ref scale, Ref bias, std::int64_t outer,
                                      std::int64_t size, float epsilon) {
  elements({outer, size});
  require(size >= 1, "a normalisation is over at least one number");
  return std::make_unique<LayerNorm>(isa, source, output, scale, bias, outer, size, epsilon);
}

std::unique_ptr<Step> make_local_response_norm(Isa isa, Ref source, Ref output, const LocalResponseNormShape& shape,
                                               std::int64_t size, float alpha, float beta, float k) {
  elements({shape.images, shape.channels, shape.plane});
  require(1 <= size && size <= 65536, "a local response is over 1 to 65536 channels, found " + std::to_string(size));
  return std::make_unique<LocalResponseNorm>(isa, source, output, shape, size, alpha, beta, k);
}

}  // namespace secateur
