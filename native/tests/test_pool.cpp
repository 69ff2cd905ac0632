// Every item runs once, on no more threads than asked for, and small steps stay where they are.
#include "pool.h"

#include <set>

#include "weighted_check.h"

namespace secateur::testing {
namespace {

long cases = 0;

// Counts how often each item ran and on which threads.
class Counting final : public Step {
 public:
  explicit Counting(std::int64_t items) : counts_(new std::atomic<int>[static_cast<std::size_t>(items)]()), items_(items) {}
  std::int64_t items() const noexcept override { return items_; }
  std::size_t scratch_bytes() const noexcept override { return 100; }
  void run(std::int64_t begin, std::int64_t end, const Memory&, std::byte* scratch) const noexcept override {
    if (reinterpret_cast<std::uintptr_t>(scratch) % 64 != 0) misaligned_ = true;
    std::memset(scratch, 1, scratch_bytes());
    for (std::int64_t i = begin; i < end; ++i) ++counts_[static_cast<std::size_t>(i)];
    const std::lock_guard<std::mutex> lock(mutex_);
    threads_.insert(std::this_thread::get_id());
  }
  bool all(int times) const {
    for (std::int64_t i = 0; i < items_; ++i) {
      if (counts_[static_cast<std::size_t>(i)] != times) return false;
    }
    return !misaligned_;
  }
  std::size_t threads() const { return threads_.size(); }
  bool only_here() const { return threads_.size() == 1 && threads_.count(std::this_thread::get_id()) == 1; }

 private:
  std::unique_ptr<std::atomic<int>[]> counts_;
  std::int64_t items_;
  mutable std::atomic<bool> misaligned_{false};
  mutable std::mutex mutex_;
  mutable std::set<std::thread::id> threads_;
};

void check_items() {
  for (const int threads : {1, 2, 3, 7}) {
    Pool pool(threads, 100);
    expect(pool.threads() == threads, "as many threads as asked for");
    for (const std::int64_t items : {1, 2, 3, 5, 64, 1000}) {
      const Counting step(items);
      for (int i = 0; i < 50; ++i) pool.run(step, items, Memory{}, threads);
      expect(step.all(50), std::to_string(items) + " items on " + std::to_string(threads) + " threads");
      expect(step.threads() <= static_cast<std::size_t>(threads), "too many threads");
      if (items == 1 || threads == 1) expect(step.only_here(), "one item stays on the caller's thread");
      ++cases;
    }
  }
}

// Workers that sleep, steps in quick succession, other numbers of threads in between: nobody is lost.
void check_sleepers() {
  Pool pool(3, 100);
  const Counting step(17);
  int runs = 0;
  for (int round = 0; round < 6; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(round));
    for (int threads = 1; threads <= 3; ++threads, ++runs) pool.run(step, 17, Memory{}, threads);
    pool.open(3);
    for (int i = 0; i < 100; ++i, ++runs) pool.run(step, 17, Memory{}, 3);
    pool.close();
  }
  expect(step.all(runs), "some item was lost or ran twice");
  ++cases;
}

void check_many_pools() {
  for (int i = 0; i < 30; ++i) {
    Pool pool(4, 100);
    if (i % 2 == 0) continue;
    const Counting step(9);
    pool.run(step, 9, Memory{}, 4);
    expect(step.all(1), "a young pool");
    ++cases;
  }
}

}  // namespace
}  // namespace secateur::testing

int main() {
  using namespace secateur::testing;
  check_items();
  check_sleepers();
  check_many_pools();
  return report(cases);
}
