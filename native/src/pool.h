// Threads that run the items of one step at a time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "secateur/step.h"

namespace secateur {

// The caller and its workers. A step's items are cut into one contiguous range per thread; every thread takes its own
// range first and then what nobody has begun, so that a worker still asleep never holds up the rest.
//
// One caller at a time.
class Pool {
 public:
  // Starts threads - 1 workers, each with scratch of its own. Throws std::system_error where there are no more threads.
  Pool(int threads, std::size_t scratch_bytes);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  // A call begins: wakes workers that sleep, and returns at once; by the time there is work they spin.
  void open(int threads) noexcept;
  // It is over: workers may sleep.
  void close() noexcept;
  // Runs all items on at most `threads` threads and returns when they are done.
  void run(const Step& step, std::int64_t items, const Memory& memory, int threads) noexcept;

  std::byte* scratch(int thread) const noexcept { return scratch_ + static_cast<std::size_t>(thread) * stride_; }

 private:
  // Written by one thread, read by another: each on a line of its own.
  struct alignas(64) Worker {
    std::atomic<std::uint64_t> claimed{0};  // the generation whose range of this index was begun last
    std::atomic<bool> asleep{false};
    std::mutex mutex;
    std::condition_variable wake;
    std::thread thread;
  };

  void stop() noexcept;
  void rouse(int threads) noexcept;
  void work(int index) noexcept;
  std::uint64_t next_ticket(Worker& self, std::uint64_t seen) noexcept;
  void take_part(std::uint64_t ticket, int index) noexcept;
  bool claim(std::uint64_t ticket, int range) noexcept;

  std::size_t stride_;
  std::unique_ptr<std::byte[]> storage_;
  std::byte* scratch_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<std::uint64_t> first_claimed_{0};

  // The work at hand. Read by those who hold a claim on the current generation: while a claim is open it stays.
  const Step* step_ = nullptr;
  const Memory* memory_ = nullptr;
  std::int64_t items_ = 0;
  // generation * MAX_RANGES + ranges: one word, so that a late reader never pairs a generation with another's ranges.
  alignas(64) std::atomic<std::uint64_t> ticket_{0};
  alignas(64) std::atomic<int> open_{0};
  std::atomic<bool> stop_{false};
  std::atomic<bool> calling_{false};
};

}  // namespace secateur
