// Sets to zero what masks leave out, of several arrays at once: what keeps pruned weights pruned while a network trains.
// Knows nothing of Python or torch, but works with the threads that torch has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace secateur::masking {

// One array's mask, a byte for every value: 1 keeps it, 0 sets it to zero.
struct Mask {
  const std::uint8_t* keeps;
  std::size_t count;
  unsigned bytes;  // of one value: 1, 2, 4 or 8
};

// Whether this process has an OpenMP runtime whose threads can be had. Torch's comes with it; we link to none of our
// own, since two runtimes would have twice the threads.
bool has_threads();

// arrays[i] belongs to masks[i], or is null and left out. `threads` is how many torch works with: another number would
// have the runtime end some and start others.
void keep(const std::vector<Mask>& masks, const std::vector<void*>& arrays, unsigned threads);

}  // namespace secateur::masking
