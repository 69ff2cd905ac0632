// Memory that vectors and cache lines like.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace secateur {

constexpr std::size_t ALIGNMENT = 64;

inline std::size_t aligned_up(std::size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

struct AlignedDelete {
  void operator()(std::byte* memory) const { ::operator delete(memory, std::align_val_t(ALIGNMENT)); }
};

using AlignedBytes = std::unique_ptr<std::byte[], AlignedDelete>;

inline AlignedBytes aligned_bytes(std::size_t bytes) {
  return AlignedBytes(
      static_cast<std::byte*>(::operator new(bytes == 0 ? ALIGNMENT : bytes, std::align_val_t(ALIGNMENT))));
}

// Hands out the parts of a thread's scratch, each aligned; with no memory behind it, it only counts.
class Carver {
 public:
  explicit Carver(std::byte* memory) : memory_(memory) {}

  template <class T>
  T* take(std::size_t count) {
    std::byte* const part = memory_ == nullptr ? nullptr : memory_ + taken_;
    taken_ += aligned_up(count * sizeof(T));
    return reinterpret_cast<T*>(part);
  }
  std::size_t taken() const { return taken_; }

 private:
  std::byte* memory_;
  std::size_t taken_ = 0;
};

// What the parts take that carve(carver) takes.
template <class Carve>
std::size_t carved_bytes(Carve carve) {
  Carver sizes(nullptr);
  carve(sizes);
  return sizes.taken();
}

}  // namespace secateur
