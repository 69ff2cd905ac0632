#include "strip_weights.h"

#include <algorithm>
#include <cstring>

#include "matrix_entries.h"

namespace secateur {
namespace {

std::vector<float> widened(const Matrix& matrix, const WeightedKernels& kernels) {
  std::vector<float> out(static_cast<std::size_t>(matrix.entries));
  kernels.widen(matrix.values, matrix.type, matrix.entries, out.data());
  return out;
}

}  // namespace

std::size_t StripWeights::bytes() const {
  return counts.size() + starts.size() * sizeof(std::uint32_t) +
         static_cast<std::size_t>(starts.back()) * static_cast<std::size_t>(pair_bytes);
}

StripWeights pack_strips(const Matrix& matrix, const WeightedKernels& kernels) {
  const std::int64_t lanes = kernels.lanes;
  StripWeights out;
  out.blocks = (matrix.lines + lanes - 1) / lanes;
  out.strips = (matrix.length + kernels.strip - 1) / kernels.strip;
  out.pair_bytes = 3 * lanes * static_cast<std::int64_t>(sizeof(float));

  // How many entries each output has in each strip: first all of them, then those put already.
  std::vector<std::uint8_t> seen(static_cast<std::size_t>(matrix.lines * out.strips));
  each_nonzero(matrix, [&](std::int64_t line, std::int64_t position, std::int64_t) {
    ++seen[static_cast<std::size_t>(line * out.strips + position / kernels.strip)];
  });
  out.counts.resize(static_cast<std::size_t>(out.blocks * out.strips));
  std::vector<std::uint32_t> first(out.counts.size());  // of each block and strip, in pairs
  std::uint32_t pairs = 0;
  for (std::int64_t block = 0; block < out.blocks; ++block) {
    out.starts.push_back(pairs);
    for (std::int64_t strip = 0; strip < out.strips; ++strip) {
      int most = 0;
      for (std::int64_t line = block * lanes; line < std::min((block + 1) * lanes, matrix.lines); ++line) {
        most = std::max<int>(most, seen[static_cast<std::size_t>(line * out.strips + strip)]);
      }
      const std::size_t at = static_cast<std::size_t>(block * out.strips + strip);
      out.counts[at] = static_cast<std::uint8_t>((most + 1) / 2);
      first[at] = pairs;
      pairs += out.counts[at];
    }
  }
  out.starts.push_back(pairs);

  const std::size_t bytes = static_cast<std::size_t>(pairs) * static_cast<std::size_t>(out.pair_bytes);
  out.pairs = aligned_bytes(bytes);
  std::memset(out.pairs.get(), 0, bytes);
  std::fill(seen.begin(), seen.end(), std::uint8_t{0});
  const std::vector<float> values = widened(matrix, kernels);
  each_nonzero(matrix, [&](std::int64_t line, std::int64_t position, std::int64_t entry) {
    const std::int64_t strip = position / kernels.strip;
    const std::size_t at = static_cast<std::size_t>(line / lanes * out.strips + strip);
    const int step = seen[static_cast<std::size_t>(line * out.strips + strip)]++;
    std::byte* const pair = out.pairs.get() + (static_cast<std::int64_t>(first[at]) + step / 2) * out.pair_bytes;
    const std::int64_t lane = line % lanes;
    pair[4 * lane + step % 2] = static_cast<std::byte>(position % kernels.strip);
    const std::int64_t value = (1 + step % 2) * lanes + lane;
    std::memcpy(pair + 4 * value, &values[static_cast<std::size_t>(entry)], sizeof(float));
  });
  return out;
}

}  // namespace secateur
