#include "weight_blocks.h"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "matrix_entries.h"

namespace secateur {
namespace {

// Which positions of which panels hold anything: a bit each.
class Occupied {
 public:
  Occupied(std::int64_t panels, std::int64_t positions)
      : words_((positions + 63) / 64), bits_(static_cast<std::size_t>(panels * words_)) {}

  void mark(std::int64_t panel, std::int64_t position) {
    bits_[static_cast<std::size_t>(panel * words_ + position / 64)] |= std::uint64_t{1} << position % 64;
  }
  // Calls visit(position) for those in [begin, end), ascending.
  template <class Visit>
  void each(std::int64_t panel, std::int64_t begin, std::int64_t end, Visit visit) const {
    for (std::int64_t word = begin / 64; word * 64 < end; ++word) {
      std::uint64_t bits = bits_[static_cast<std::size_t>(panel * words_ + word)];
      if (word * 64 < begin) bits &= ~std::uint64_t{0} << begin % 64;
      if (end - word * 64 < 64) bits &= (std::uint64_t{1} << (end - word * 64)) - 1;
      for (; bits != 0; bits &= bits - 1) visit(word * 64 + __builtin_ctzll(bits));
    }
  }

 private:
  std::int64_t words_;
  std::vector<std::uint64_t> bits_;
};

struct Walk {
  const LanePlan& plan;
  const WeightBlocks& out;
  const Occupied& occupied;

  std::int64_t all_panels() const { return plan.shape.groups * out.panels; }
  std::int64_t panel_of(std::int64_t channel) const {
    return channel / plan.group_out() * out.panels + channel % plan.group_out() / out.panel_channels;
  }
  std::int64_t block_end(std::int64_t block) const { return std::min((block + 1) * plan.block, plan.positions()); }
  std::size_t run(std::int64_t panel, std::int64_t block) const {
    return static_cast<std::size_t>((panel / out.panels * out.blocks + block) * out.panels + panel % out.panels);
  }
};

std::vector<std::uint16_t> count_runs(const Walk& walk) {
  std::vector<std::uint16_t> counts(static_cast<std::size_t>(walk.all_panels() * walk.out.blocks));
  for (std::int64_t panel = 0; panel < walk.all_panels(); ++panel) {
    for (std::int64_t block = 0; block < walk.out.blocks; ++block) {
      int count = 0;
      walk.occupied.each(panel, block * walk.plan.block, walk.block_end(block), [&](std::int64_t) { ++count; });
      counts[walk.run(panel, block)] = static_cast<std::uint16_t>(count);
    }
  }
  return counts;
}

// The same for panels of one channel, without asking each position: a run is what a line has between two bounds.
class Runs {
 public:
  explicit Runs(const Walk& walk) : walk_(walk) {}

  // Calls visit(run, position within the block, entry) for every non-zero, in the order of lines.
  template <class Visit>
  void each(const Matrix& matrix, Visit visit) {
    std::int64_t line = -1;
    each_nonzero(matrix, [&](std::int64_t channel, std::int64_t position, std::int64_t entry) {
      if (channel != line || position >= end_) {
        line = channel;
        const std::int64_t block = position / walk_.plan.block;
        begin_ = block * walk_.plan.block;
        end_ = begin_ + walk_.plan.block;
        run_ = walk_.run(walk_.panel_of(channel), block);
      }
      visit(run_, position - begin_, entry);
    });
  }

 private:
  const Walk& walk_;
  std::int64_t begin_ = 0, end_ = 0;
  std::size_t run_ = 0;
};

// Calls visit(run, position within the block, channel within the panel, entry, whether it is the panel's first at that
// position) for every non-zero of a matrix whose lines are positions. What belongs to a block is visited before the next
// one is, and stays in a cache: to transpose the matrix first took more than twice as long.
template <class Visit>
void each_of_columns(const Matrix& matrix, const LanePlan& plan, const WeightBlocks& out, Visit visit) {
  const std::int64_t channels = out.panel_channels;
  std::int64_t line = -1;
  std::int64_t within = 0;  // the block
  std::int64_t first_run = 0;
  std::int64_t panel = -1;
  std::int64_t end = 0;  // of the panel's channels
  each_nonzero(matrix, [&](std::int64_t position, std::int64_t channel, std::int64_t entry) {
    const bool next_line = position != line;
    if (next_line) {
      line = position;
      within = position % plan.block;
      first_run = position / plan.block * out.panels;
    }
    const bool first = next_line || channel >= end;
    if (first) {
      panel = channels == 1 ? channel : channel / channels;  // a division takes longer than all the rest
      end = (panel + 1) * channels;
    }
    visit(static_cast<std::size_t>(first_run + panel), within, channel - (end - channels), entry, first);
  });
}

WeightBlocks described(const LanePlan& plan, ValueType type, std::int64_t panel_channels) {
  WeightBlocks out;
  out.type = type;
  out.panel_channels = panel_channels;
  out.panels = (plan.group_out() + panel_channels - 1) / panel_channels;
  out.blocks = plan.blocks();
  out.slice_panels = plan.slice / panel_channels;
  out.slices = plan.slices();
  return out;
}

// Where values and indices go, not filled yet.
struct Filling {
  std::byte* values;
  std::size_t value_bytes;
  std::uint8_t* indices;
  std::vector<std::uint32_t> run_starts;
};

Filling allocate(WeightBlocks& out, const std::vector<std::uint16_t>& counts) {
  std::vector<std::uint32_t> run_starts;
  std::vector<std::uint32_t> slice_starts;
  std::uint32_t total = 0;
  for (std::size_t run = 0; run < counts.size(); ++run) {
    if (static_cast<std::int64_t>(run) % out.panels % out.slice_panels == 0) slice_starts.push_back(total);
    run_starts.push_back(total);
    total += counts[run];
  }
  slice_starts.push_back(total);
  for (std::size_t i = 0; i + 1 < slice_starts.size(); ++i) {
    out.longest = std::max<std::int64_t>(out.longest, (slice_starts[i + 1] - slice_starts[i]) * out.panel_channels);
  }

  const std::size_t bytes = static_cast<std::size_t>(total * out.panel_channels * value_bytes(out.type));
  const auto carve = [&](Carver& parts) {
    std::byte* const values = parts.take<std::byte>(bytes);
    std::uint8_t* const indices = parts.take<std::uint8_t>(total);
    return std::tuple(values, indices, parts.take<std::uint16_t>(counts.size()),
                      parts.take<std::uint32_t>(slice_starts.size()));
  };
  out.bytes = carved_bytes(carve);
  out.storage = aligned_bytes(out.bytes);
  Carver parts(out.storage.get());
  const auto [values, indices, kept_counts, kept_starts] = carve(parts);
  std::copy(counts.begin(), counts.end(), kept_counts);
  std::copy(slice_starts.begin(), slice_starts.end(), kept_starts);
  out.values = values;
  out.indices = indices;
  out.counts = kept_counts;
  out.starts = kept_starts;
  return {values, bytes, indices, std::move(run_starts)};
}

}  // namespace

FullBlocks::FullBlocks(const LanePlan& plan, std::int64_t panel_channels)
    : out_(described(plan, ValueType::float32, panel_channels)), block_(plan.block), positions_(plan.positions()),
      group_out_(plan.group_out()) {
  std::vector<std::uint16_t> counts;
  for (std::int64_t group = 0; group < plan.shape.groups; ++group) {
    for (std::int64_t block = 0; block < out_.blocks; ++block) {
      const auto count = static_cast<std::uint16_t>(std::min(block_, positions_ - block * block_));
      counts.insert(counts.end(), static_cast<std::size_t>(out_.panels), count);
    }
  }
  Filling filling = allocate(out_, counts);
  values_ = reinterpret_cast<float*>(filling.values);
  run_starts_ = std::move(filling.run_starts);
  for (std::size_t run = 0; run < counts.size(); ++run) {
    for (std::uint32_t i = 0; i < counts[run]; ++i) filling.indices[run_starts_[run] + i] = static_cast<std::uint8_t>(i);
  }
  // Every value is put but for those of channels that fill up a panel.
  if (group_out_ % panel_channels != 0) std::memset(filling.values, 0, filling.value_bytes);
}

void FullBlocks::put(std::int64_t line, const float* row) noexcept {
  const std::int64_t panel = line % group_out_ / out_.panel_channels;
  const std::int64_t within = line % group_out_ % out_.panel_channels;
  for (std::int64_t block = 0; block < out_.blocks; ++block) {
    const std::int64_t run = (line / group_out_ * out_.blocks + block) * out_.panels + panel;
    float* const to = values_ + run_starts_[static_cast<std::size_t>(run)] * out_.panel_channels + within;
    const std::int64_t count = std::min(block_, positions_ - block * block_);
    for (std::int64_t i = 0; i < count; ++i) to[i * out_.panel_channels] = row[block * block_ + i];
  }
}

WeightBlocks pack_weights(const Matrix& matrix, const LanePlan& plan, std::int64_t panel_channels) {
  WeightBlocks out = described(plan, matrix.type, panel_channels);
  const bool single = panel_channels == 1;
  Occupied occupied(single ? 0 : plan.shape.groups * out.panels, plan.positions());
  const Walk walk{plan, out, occupied};
  Runs runs(walk);
  std::vector<std::uint16_t> counts;
  if (single) {
    counts.assign(static_cast<std::size_t>(walk.all_panels() * out.blocks), 0);
    runs.each(matrix, [&](std::size_t run, std::int64_t, std::int64_t) { ++counts[run]; });
  } else {
    each_nonzero(matrix, [&](std::int64_t channel, std::int64_t position, std::int64_t) {
      occupied.mark(walk.panel_of(channel), position);
    });
    counts = count_runs(walk);
  }

  Filling filling = allocate(out, counts);
  std::vector<std::uint32_t>& run_starts = filling.run_starts;
  std::byte* const values = filling.values;
  std::uint8_t* const indices = filling.indices;
  if (single) {
    runs.each(matrix, [&](std::size_t run, std::int64_t position, std::int64_t entry) {
      const std::uint32_t slot = run_starts[run]++;
      indices[slot] = static_cast<std::uint8_t>(position);
      copy_value(matrix, entry, values, slot);
    });
    return out;
  }
  // The channels of a panel follow each other, so its positions are numbered once.
  std::memset(values, 0, filling.value_bytes);
  std::vector<std::uint32_t> slots(static_cast<std::size_t>(plan.positions()));
  std::int64_t numbered = -1;
  each_nonzero(matrix, [&](std::int64_t channel, std::int64_t position, std::int64_t entry) {
    const std::int64_t panel = walk.panel_of(channel);
    if (panel != numbered) {
      numbered = panel;
      for (std::int64_t block = 0; block < out.blocks; ++block) {
        std::uint32_t slot = run_starts[walk.run(panel, block)];
        occupied.each(panel, block * plan.block, walk.block_end(block), [&](std::int64_t p) {
          indices[slot] = static_cast<std::uint8_t>(p - block * plan.block);
          slots[static_cast<std::size_t>(p)] = slot++;
        });
      }
    }
    const std::int64_t within = channel % plan.group_out() % panel_channels;
    copy_value(matrix, entry, values, slots[static_cast<std::size_t>(position)] * panel_channels + within);
  });
  return out;
}

WeightBlocks pack_columns(const Matrix& matrix, const LanePlan& plan, std::int64_t panel_channels) {
  WeightBlocks out = described(plan, matrix.type, panel_channels);
  std::vector<std::uint16_t> counts(static_cast<std::size_t>(out.panels * out.blocks));
  each_of_columns(matrix, plan, out, [&](std::size_t run, std::int64_t, std::int64_t, std::int64_t, bool first) {
    counts[run] = static_cast<std::uint16_t>(counts[run] + first);
  });
  Filling filling = allocate(out, counts);
  std::vector<std::uint32_t>& next = filling.run_starts;
  if (panel_channels > 1) std::memset(filling.values, 0, filling.value_bytes);
  each_of_columns(matrix, plan, out, [&](std::size_t run, std::int64_t position, std::int64_t within, std::int64_t entry, bool first) {
    if (first) filling.indices[next[run]++] = static_cast<std::uint8_t>(position);
    copy_value(matrix, entry, filling.values, (next[run] - 1) * panel_channels + within);
  });
  return out;
}

}  // namespace secateur
