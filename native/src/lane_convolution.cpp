#include "lane_convolution.h"

#include "lane_images.h"
#include "matrix_entries.h"

namespace secateur {
namespace {

class LaneConvolution final : public WeightedStep {
 public:
  LaneConvolution(const WeightedKernels& kernels, const LanePlan& plan, const Matrix& weights, const LayerRefs& refs,
                  bool panel)
      : product_(kernels, plan, weights, panel), images_(kernels, plan, refs) {}

  std::size_t packed_bytes() const noexcept override { return product_.bytes(); }
  std::int64_t items() const noexcept override { return product_.plan().small ? 1 : images_.units(); }
  std::size_t scratch_bytes() const noexcept override {
    return carved_bytes([this](Carver& parts) { carve(parts); });
  }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte* scratch) const noexcept override {
    Carver parts(scratch);
    const Scratch s = carve(parts);
    if (product_.plan().small) end = begin < end ? images_.units() : 0;
    LaneUnit packed;
    for (std::int64_t item = begin; item < end; ++item) {
      const LaneUnit unit = images_.unit(item);
      if (!unit.same_band(packed)) images_.pack(unit, packed, memory, s.packed);
      packed = unit;
      const Band& band = product_.band(unit.band);
      product_.multiply(unit.group, unit.slice, band, s.packed, s.sums, s.product);
      images_.finish(unit, memory, {s.sums, band.places.data(), band.steps.data()}, s.maxima);
    }
  }

 private:
  struct Scratch {
    float* packed;
    float* sums;
    float* maxima;
    LaneProduct::Scratch product;
  };

  Scratch carve(Carver& parts) const noexcept {
    Scratch s;
    s.packed = parts.take<float>(product_.packed_floats());
    s.sums = parts.take<float>(product_.sums_floats());
    s.maxima = parts.take<float>(images_.maxima_floats());
    s.product = product_.carve(parts);
    return s;
  }

  const LaneProduct product_;
  const LaneImages images_;
};

}  // namespace

std::unique_ptr<WeightedStep> make_lane_convolution(const WeightedKernels& kernels, const ConvolutionShape& shape,
                                                    const Matrix& weights, const LayerRefs& refs, bool images,
                                                    bool panel) {
  const LaneWork work{static_cast<double>(count_nonzeros(weights)), images, panel};
  return std::make_unique<LaneConvolution>(kernels, plan_lanes(shape, kernels, work), weights, refs, panel);
}

}  // namespace secateur
