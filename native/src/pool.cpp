#include "pool.h"

#include <algorithm>
#include <chrono>

#if SECATEUR_X86
#include <immintrin.h>
#endif

namespace secateur {
namespace {

constexpr std::uint64_t MAX_RANGES = 1024;
constexpr std::uintptr_t LINE = 64;
// How long a worker looks for work before it sleeps: waking takes some fifty microseconds. Between two calls that long;
// within a call, while the caller is busy with a step of one item, it is worth much more.
constexpr std::chrono::microseconds SPIN{100};
constexpr int SPINS_WITHIN_CALL = 50;

void pause() noexcept {
#if SECATEUR_X86
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// Calls `done` until it is true or the time is over; says which.
template <class Done>
bool spin(Done done) noexcept {
  for (int i = 0; i < 64; ++i) {
    if (done()) return true;
    pause();
  }
  const auto end = std::chrono::steady_clock::now() + SPIN;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

std::size_t round_up(std::size_t n) { return (n + LINE - 1) / LINE * LINE; }

}  // namespace

Pool::Pool(int threads, std::size_t scratch_bytes)
    : stride_(round_up(scratch_bytes)),
      storage_(new std::byte[stride_ * static_cast<std::size_t>(threads) + LINE]),
      scratch_(reinterpret_cast<std::byte*>(round_up(reinterpret_cast<std::uintptr_t>(storage_.get())))) {
  const int most = std::min(threads, static_cast<int>(MAX_RANGES) - 1);
  for (int i = 1; i < most; ++i) workers_.push_back(std::make_unique<Worker>());
  try {
    for (int i = 1; i < most; ++i) workers_[i - 1]->thread = std::thread([this, i] { work(i); });
  } catch (...) {
    stop();
    throw;
  }
}

Pool::~Pool() { stop(); }

void Pool::stop() noexcept {
  stop_.store(true);
  ticket_.fetch_add(MAX_RANGES);
  rouse(threads());
  for (auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
}

void Pool::open(int threads) noexcept {
  calling_.store(true, std::memory_order_relaxed);
  rouse(threads);
}

void Pool::close() noexcept { calling_.store(false, std::memory_order_relaxed); }

void Pool::rouse(int threads) noexcept {
  const int awaited = std::min(threads - 1, static_cast<int>(workers_.size()));
  for (int i = 0; i < awaited; ++i) {
    Worker& worker = *workers_[i];
    if (!worker.asleep.load()) continue;
    const std::lock_guard<std::mutex> lock(worker.mutex);
    worker.asleep.store(false);
    worker.wake.notify_one();
  }
}

void Pool::run(const Step& step, std::int64_t items, const Memory& memory, int threads) noexcept {
  const int ranges = static_cast<int>(std::min<std::int64_t>(std::min(threads, this->threads()), items));
  if (ranges <= 1) {
    step.run(0, items, memory, scratch(0));
    return;
  }
  step_ = &step;
  memory_ = &memory;
  items_ = items;
  open_.store(ranges, std::memory_order_relaxed);
  const std::uint64_t generation = ticket_.load(std::memory_order_relaxed) / MAX_RANGES + 1;
  const std::uint64_t ticket = generation * MAX_RANGES + static_cast<std::uint64_t>(ranges);
  // Sequentially consistent, against a worker that says it sleeps and then looks at the ticket once more.
  ticket_.store(ticket);
  rouse(ranges);
  take_part(ticket, 0);
  const auto done = [this] { return open_.load(std::memory_order_acquire) == 0; };
  // A worker that was interrupted in the middle of its range may need this very core.
  while (!spin(done)) std::this_thread::yield();
}

void Pool::work(int index) noexcept {
  Worker& self = *workers_[index - 1];
  std::uint64_t seen = 0;
  while (true) {
    seen = next_ticket(self, seen);
    if (stop_.load()) return;
    take_part(seen, index);
  }
}

std::uint64_t Pool::next_ticket(Worker& self, std::uint64_t seen) noexcept {
  const auto changed = [&] { return ticket_.load() != seen; };
  int spins = 0;
  while (!spin(changed)) {
    if (calling_.load(std::memory_order_relaxed) && ++spins < SPINS_WITHIN_CALL) continue;
    spins = 0;
    std::unique_lock<std::mutex> lock(self.mutex);
    self.asleep.store(true);
    if (changed()) {
      self.asleep.store(false);
      break;
    }
    self.wake.wait(lock, [&] { return !self.asleep.load(); });
  }
  return ticket_.load();
}

bool Pool::claim(std::uint64_t ticket, int range) noexcept {
  std::atomic<std::uint64_t>& claimed = range == 0 ? first_claimed_ : workers_[range - 1]->claimed;
  const std::uint64_t generation = ticket / MAX_RANGES;
  std::uint64_t last = claimed.load(std::memory_order_relaxed);
  return last < generation && claimed.compare_exchange_strong(last, generation, std::memory_order_acquire);
}

void Pool::take_part(std::uint64_t ticket, int index) noexcept {
  const int ranges = static_cast<int>(ticket % MAX_RANGES);
  for (int i = 0; i < ranges; ++i) {
    const int range = (index + i) % ranges;
    if (!claim(ticket, range)) continue;
    const std::int64_t begin = items_ * range / ranges;
    const std::int64_t end = items_ * (range + 1) / ranges;
    step_->run(begin, end, *memory_, scratch(index));
    open_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

}  // namespace secateur
