// Steps that move whole runs of numbers: copy, concat, gather.
#include <algorithm>
#include <cstring>
#include <limits>

#include "sizes.h"

namespace secateur {
namespace {

constexpr std::int64_t GRAIN = 32768;  // of floats

void copy_floats(float* to, const float* from, std::int64_t count) {
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
}

class Concat final : public Step {
 public:
  Concat(std::vector<Ref> sources, const Shape& sizes, Ref output, std::int64_t outer)
      : sources_(std::move(sources)), output_(output) {
    offsets_.push_back(0);
    for (const std::int64_t size : sizes) offsets_.push_back(offsets_.back() + size);
    count_ = outer * offsets_.back();
    items_ = item_count(count_, 1, GRAIN);
  }

  std::int64_t items() const noexcept override { return items_; }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    float* output = memory.write<float>(output_);
    const std::int64_t period = offsets_.back();
    const std::int64_t last = count_ * end / items_;
    std::int64_t at = count_ * begin / items_;
    if (at == last) return;
    std::int64_t place = at / period;
    std::int64_t within = at % period;
    std::size_t s = 0;
    while (at < last) {
      while (within >= offsets_[s + 1]) ++s;
      const std::int64_t size = offsets_[s + 1] - offsets_[s];
      const std::int64_t run = std::min(offsets_[s + 1] - within, last - at);
      copy_floats(output + at, memory.read<float>(sources_[s]) + place * size + (within - offsets_[s]), run);
      at += run;
      within += run;
      if (within < period) continue;
      within = 0;
      s = 0;
      ++place;
    }
  }

 private:
  std::vector<Ref> sources_;
  Ref output_;
  Shape offsets_;
  std::int64_t count_, items_;
};

class Gather final : public Step {
 public:
  Gather(Ref source, Ref indices, Ref output, std::int64_t outer, std::int64_t size, std::int64_t inner, std::int64_t count)
      : source_(source),
        indices_(indices),
        output_(output),
        size_(size),
        inner_(inner),
        count_(count),
        runs_(outer * count),
        items_(item_count(runs_, inner + 4, GRAIN)) {}

  std::int64_t items() const noexcept override { return items_; }

  void run(std::int64_t begin, std::int64_t end, const Memory& memory, std::byte*) const noexcept override {
    const float* source = memory.read<float>(source_);
    const auto* indices = memory.read<std::int64_t>(indices_);
    float* output = memory.write<float>(output_);
    const std::int64_t last = runs_ * end / items_;
    for (std::int64_t r = runs_ * begin / items_; r < last; ++r) {
      std::int64_t index = indices[r % count_];
      if (index < 0) index += size_;
      float* to = output + r * inner_;
      if (index < 0 || index >= size_) {
        std::fill(to, to + inner_, std::numeric_limits<float>::quiet_NaN());
      } else if (inner_ == 1) {
        *to = source[r / count_ * size_ + index];
      } else {
        copy_floats(to, source + (r / count_ * size_ + index) * inner_, inner_);
      }
    }
  }

 private:
  Ref source_, indices_, output_;
  std::int64_t size_, inner_, count_, runs_, items_;
};

}  // namespace

std::unique_ptr<Step> make_concat(const std::vector<Ref>& sources, const Shape& sizes, Ref output, std::int64_t outer) {
  require(!sources.empty() && sources.size() == sizes.size(),
          "a concat has a size for each source, found " + std::to_string(sources.size()) + " sources and " +
              std::to_string(sizes.size()) + " sizes");
  std::int64_t total = 0;
  for (const std::int64_t size : sizes) {
    elements({size, outer});
    total += size;
    elements({total, outer});
  }
  return std::make_unique<Concat>(sources, sizes, output, outer);
}

std::unique_ptr<Step> make_copy(Ref source, Ref output, std::int64_t count) {
  return make_concat({source}, {count}, output, 1);
}

std::unique_ptr<Step> make_gather(Ref source, Ref indices, Ref output, std::int64_t outer, std::int64_t size,
                                  std::int64_t inner, std::int64_t count) {
  elements({outer, size, inner});
  elements({outer, count, inner});
  return std::make_unique<Gather>(source, indices, output, outer, size, inner, count);
}

}  // namespace secateur
