#include "strip_weights.h"

#include <algorithm>
#include <numeric>

#include "matrix_entries.h"
#include "sizes.h"

namespace secateur {
namespace {

constexpr int MAX_STRIP = 2 * MAX_LANES;  // inputs

// The entries of one block of outputs, and how they lie in strips. Values are bits: of float32, or of one of the halves.
// (Members are read into locals before the loops: for all that the compiler knows, writing a byte may change them.)
template <class Bits>
class BlockEntries {
 public:
  BlockEntries(const Matrix& matrix, const WeightedKernels& kernels, std::int64_t strips)
      : matrix_(matrix),
        lanes_(kernels.lanes),
        strip_bits_(__builtin_ctz(static_cast<unsigned>(kernels.strip))),
        inputs_(static_cast<std::size_t>(std::min(lanes_ * matrix.length, matrix.entries) + MAX_STRIP)),
        values_(inputs_.size()),
        counts_(static_cast<std::size_t>(strips * MAX_LANES)) {}

  // The next block, the first one first.
  void read(std::int64_t first_line) {
    std::fill(counts_.begin(), counts_.end(), std::uint8_t{0});
    const int strip_bits = strip_bits_;
    const std::int64_t within = (1 << strip_bits) - 1;
    const Bits* const source = static_cast<const Bits*>(matrix_.values);
    Bits* const values = values_.data();
    std::uint8_t* const inputs = inputs_.data();
    std::int64_t size = 0;
    for (std::int64_t lane = 0; lane < lanes_; ++lane) {
      begin_[lane] = size;
      if (first_line + lane >= matrix_.lines) continue;
      std::uint8_t* const counts = counts_.data() + lane;
      entry_ = each_of_line(matrix_, first_line + lane, entry_, [&](std::int64_t position, std::int64_t entry) {
        inputs[size] = static_cast<std::uint8_t>(position & within);
        values[size++] = source[entry];
        ++counts[(position >> strip_bits) * MAX_LANES];
      });
    }
  }

  // Writes the steps of one strip, in the order of strips, and their widths; behind the last step there must be room for a
  // vector. Where in their order the outputs are goes to `places`. Returns how many steps there are.
  int take_strip(std::int64_t strip, Bits* values, std::uint8_t* inputs, std::uint8_t* places,
                 std::uint8_t (&widths)[MAX_STRIP]) {
    const std::uint8_t* const counts = counts_.data() + strip * MAX_LANES;
    // An output's place is the number of those that go before it: quicker to count than to sort.
    std::int16_t keys[MAX_LANES];
    std::int16_t before[MAX_LANES] = {};
    for (int lane = 0; lane < MAX_LANES; ++lane) {
      keys[lane] = static_cast<std::int16_t>((UINT8_MAX - counts[lane]) * MAX_LANES + lane);
    }
    for (const std::int16_t other : keys) {
      for (int lane = 0; lane < MAX_LANES; ++lane) {
        before[lane] = static_cast<std::int16_t>(before[lane] + (other < keys[lane]));
      }
    }
    std::int64_t from[MAX_LANES] = {};  // in that order
    int left[MAX_LANES] = {};
    for (std::int64_t lane = 0; lane < lanes_; ++lane) {
      places[lane] = static_cast<std::uint8_t>(before[lane]);
      from[before[lane]] = begin_[lane];
      left[before[lane]] = counts[lane];
      begin_[lane] += counts[lane];
    }
    const Bits* const all_values = values_.data();
    const std::uint8_t* const all_inputs = inputs_.data();
    std::int64_t width = lanes_;
    for (int step = 0; step < left[0]; ++step) {
      while (left[width - 1] <= step) --width;
      // Whole eights, of which the next step writes over what is too much: branches for each would take longer.
      for (std::int64_t eight = 0; eight < width; eight += 8) {
        for (std::int64_t place = eight; place < eight + 8; ++place) {
          values[place] = all_values[from[place] + step];
          inputs[place] = all_inputs[from[place] + step];
        }
      }
      values += width;
      inputs += width;
      widths[step] = static_cast<std::uint8_t>(width);
    }
    return left[0];
  }

 private:
  const Matrix& matrix_;
  const std::int64_t lanes_;
  const int strip_bits_;
  std::vector<std::uint8_t> inputs_;  // within their strips
  std::vector<Bits> values_;
  std::vector<std::uint8_t> counts_;    // [strips][MAX_LANES]
  std::int64_t begin_[MAX_LANES] = {};  // of each lane, what is not yet taken
  std::int64_t entry_ = 0;              // of the matrix, the next
};

template <class Bits>
void fill(StripWeights& out, const Matrix& matrix, const WeightedKernels& kernels) {
  BlockEntries<Bits> block(matrix, kernels, out.strips);
  Bits* values = reinterpret_cast<Bits*>(out.values.get());
  std::uint8_t* inputs = out.indices.data();
  std::uint8_t* places = out.places.data();
  for (std::int64_t b = 0; b < out.blocks; ++b) {
    out.first_entry.push_back(static_cast<std::uint32_t>(inputs - out.indices.data()));
    out.first_step.push_back(static_cast<std::uint32_t>(out.widths.size()));
    block.read(b * kernels.lanes);
    for (std::int64_t strip = 0; strip < out.strips; ++strip, places += kernels.lanes) {
      std::uint8_t widths[MAX_STRIP];
      const int steps = block.take_strip(strip, values, inputs, places, widths);
      const int taken = std::accumulate(widths, widths + steps, 0);
      values += taken;
      inputs += taken;
      out.widths.insert(out.widths.end(), widths, widths + steps);
      out.counts.push_back(static_cast<std::uint8_t>(steps));
    }
  }
  std::fill(values, values + MAX_LANES, Bits{0});
}

}  // namespace

std::size_t StripWeights::bytes() const {
  return static_cast<std::size_t>((entries + MAX_LANES) * value_bytes(type)) + indices.size() + widths.size() +
         counts.size() + places.size() + (first_entry.size() + first_step.size()) * sizeof(std::uint32_t);
}

StripWeights pack_strips(const Matrix& matrix, const WeightedKernels& kernels) {
  StripWeights out;
  out.blocks = ceil_div(matrix.lines, kernels.lanes);
  out.strips = ceil_div(matrix.length, kernels.strip);
  out.type = matrix.type;
  out.entries = count_nonzeros(matrix);
  out.values = aligned_bytes(static_cast<std::size_t>((out.entries + MAX_LANES) * value_bytes(matrix.type)));
  out.indices.resize(static_cast<std::size_t>(out.entries + MAX_LANES));
  out.counts.reserve(static_cast<std::size_t>(out.blocks * out.strips));
  out.widths.reserve(static_cast<std::size_t>(out.entries));
  out.places.resize(static_cast<std::size_t>(out.blocks * out.strips * kernels.lanes));

  if (value_bytes(matrix.type) == 4) {
    fill<std::uint32_t>(out, matrix, kernels);
  } else {
    fill<std::uint16_t>(out, matrix, kernels);
  }
  out.widths.shrink_to_fit();
  return out;
}

}  // namespace secateur
