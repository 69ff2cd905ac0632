#include "secateur/program.h"

#include <pthread.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <algorithm>
#include <chrono>
#include <exception>
#include <mutex>
#include <new>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "pool.h"

namespace secateur {
namespace {

constexpr std::align_val_t LINE{64};
// Packed in less than a millisecond: not worth a thread.
constexpr std::int64_t FEW_ENTRIES = 200'000;

struct Free {
  void operator()(std::byte* p) const { ::operator delete[](p, LINE); }
};

// How often this process has been forked off: threads do not survive that, so contexts from before are of no use.
std::atomic<unsigned>& forks() {
  static std::atomic<unsigned> count{0};
  static const int registered = pthread_atfork(nullptr, nullptr, [] { ++forks(); });
  static_cast<void>(registered);
  return count;
}

std::string described(Ref ref) {
  switch (ref.space) {
    case Space::none: return "nothing";
    case Space::arena: return "arena byte " + std::to_string(ref.index);
    case Space::input: return "input " + std::to_string(ref.index);
    case Space::output: return "output " + std::to_string(ref.index);
    case Space::constant: return "constant " + std::to_string(ref.index);
  }
  return "an unknown space";
}

[[noreturn]] void refuse(const Use& use, const std::string& why) {
  throw std::invalid_argument(described(use.ref) + ": " + why);
}

// Calls run(i) for each i < count, several at once where there are threads; throws what the first to fail threw.
template <class Run>
void each_at_once(std::size_t count, int threads, Run run) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        run(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!failure) failure = std::current_exception();
        next = count;
      }
    }
  };
  std::vector<std::thread> others;
  const std::size_t wanted = std::min(count, static_cast<std::size_t>(threads));
  others.reserve(wanted);
  try {
    while (others.size() + 1 < wanted) others.emplace_back(work);
  } catch (const std::exception&) {
    // No more threads, or no memory for one: those that there are do all of it, and must be waited for.
  }
  work();
  for (std::thread& other : others) other.join();
#if defined(__GLIBC__)
  // What a thread has freed stays in a heap of its own, for threads to come: with AlexNet 5 % of its file.
  if (!others.empty()) malloc_trim(0);
#endif
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

// The memory and the threads of one call.
class Context {
 public:
  Context(std::int64_t arena_bytes, std::size_t scratch_bytes, int threads)
      : arena_(static_cast<std::byte*>(::operator new[](static_cast<std::size_t>(std::max<std::int64_t>(arena_bytes, 1)), LINE))),
        pool_(std::make_unique<Pool>(threads, scratch_bytes)),
        born_(forks().load(std::memory_order_relaxed)) {}
  ~Context() {
    // Joining threads that this process never had would wait for ever.
    if (!current()) static_cast<void>(pool_.release());
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  bool current() const { return born_ == forks().load(std::memory_order_relaxed); }
  bool serves(int threads) const { return current() && pool_->threads() >= threads; }
  std::byte* arena() const { return arena_.get(); }
  Pool& pool() const { return *pool_; }

 private:
  std::unique_ptr<std::byte[], Free> arena_;
  std::unique_ptr<Pool> pool_;
  unsigned born_;
};

Program::~Program() {
  for (auto& slot : resting_) delete slot.exchange(nullptr);
}

std::int64_t Program::add_constant(const void* data, std::int64_t bytes) {
  if (finished_) throw std::invalid_argument("the program is finished: constants come before that");
  constants_.push_back(data);
  constant_bytes_.push_back(bytes);
  return static_cast<std::int64_t>(constants_.size()) - 1;
}

void Program::note(const Use& use, bool written) {
  if (use.ref.space == Space::none) refuse(use, "there must be something to read and to write");
  if (use.ref.index < 0) refuse(use, "an index is not negative");
  if (use.bytes < 0) refuse(use, "a size is not negative");
  const auto longest = [&](std::vector<std::int64_t>& sizes) {
    constexpr std::int64_t MOST = 1 << 16;
    if (use.ref.index >= MOST) refuse(use, "there are at most 65536 of them");
    const auto index = static_cast<std::size_t>(use.ref.index);
    if (sizes.size() <= index) sizes.resize(index + 1, 0);
    sizes[index] = std::max(sizes[index], use.bytes);
  };
  switch (use.ref.space) {
    case Space::arena:
      if (use.ref.index % 64 != 0) refuse(use, "an offset is a multiple of 64");
      if (use.bytes > INT64_MAX - use.ref.index) refuse(use, "beyond any memory");
      arena_used_ = std::max(arena_used_, use.ref.index + use.bytes);
      return;
    case Space::input:
      if (written) refuse(use, "inputs are only read");
      longest(input_bytes_);
      return;
    case Space::output:
      longest(output_bytes_);
      return;
    case Space::constant:
      if (written) refuse(use, "constants are only read");
      if (use.ref.index >= static_cast<std::int64_t>(constants_.size())) {
        refuse(use, "there are " + std::to_string(constants_.size()) + " constants");
      }
      if (use.bytes > constant_bytes_[static_cast<std::size_t>(use.ref.index)]) {
        refuse(use,
               "the step reads " + std::to_string(use.bytes) + " bytes, the constant has " +
                   std::to_string(constant_bytes_[static_cast<std::size_t>(use.ref.index)]));
      }
      return;
    case Space::none: return;
  }
  refuse(use, "a space is one of none, arena, input, output, constant");
}

void Program::add(std::unique_ptr<Step> step, std::string name, const std::vector<Use>& reads,
                  const std::vector<Use>& writes) {
  list({std::move(step), nullptr, 0, std::move(name)}, reads, writes);
}

void Program::add_layer(MakeLayer make, std::int64_t entries, std::string name, const std::vector<Use>& reads,
                        const std::vector<Use>& writes) {
  list({nullptr, std::move(make), entries, std::move(name)}, reads, writes);
}

void Program::list(Listed listed, const std::vector<Use>& reads, const std::vector<Use>& writes) {
  if (finished_) throw std::invalid_argument("the program is finished: steps come before that");
  for (const Use& use : reads) note(use, false);
  for (const Use& use : writes) note(use, true);
  listed_.push_back(std::move(listed));
}

void Program::plan(std::unique_ptr<Step> step) noexcept {
  scratch_bytes_ = std::max(scratch_bytes_, step->scratch_bytes());
  const std::int64_t items = step->items();
  parallel_ = parallel_ || items > 1;
  steps_.push_back({std::move(step), items});
}

void Program::finish(std::int64_t arena_bytes, int threads) {
  if (finished_) throw std::invalid_argument("the program is finished already");
  if (arena_bytes < arena_used_) {
    throw std::invalid_argument("the arena has " + std::to_string(arena_bytes) + " bytes, the steps use " +
                                std::to_string(arena_used_));
  }
  std::vector<std::vector<std::unique_ptr<WeightedStep>>> layers(listed_.size());
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < listed_.size(); ++i) {
    if (listed_[i].make) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return listed_[a].entries > listed_[b].entries; });
  const std::int64_t entries =
      std::accumulate(listed_.begin(), listed_.end(), std::int64_t{0},
                      [](std::int64_t sum, const Listed& listed) { return sum + listed.entries; });
  each_at_once(order.size(), entries < FEW_ENTRIES ? 1 : threads,
               [&](std::size_t i) { layers[order[i]] = listed_[order[i]].make(); });

  // What needs memory comes first: after that nothing can fail half way.
  std::vector<std::string> names;
  std::vector<LayerMemory> memories;
  for (std::size_t i = 0; i < listed_.size(); ++i) {
    names.push_back(listed_[i].name);
    if (!listed_[i].make) continue;
    LayerMemory& memory = memories.emplace_back();
    for (const auto& part : layers[i]) {
      memory.packed_bytes += part->packed_bytes();
      memory.reads_matrix = memory.reads_matrix || part->reads_matrix();
    }
    for (std::size_t part = 1; part < layers[i].size(); ++part) names.push_back(listed_[i].name + " (sum)");
  }
  steps_.reserve(names.size());
  for (std::size_t i = 0; i < listed_.size(); ++i) {
    if (listed_[i].step) plan(std::move(listed_[i].step));
    for (auto& part : layers[i]) plan(std::move(part));
  }
  listed_.clear();
  names_ = std::move(names);
  memories_ = std::move(memories);
  arena_bytes_ = arena_bytes;
  finished_ = true;
}

std::unique_ptr<Context> Program::take(int threads) const {
  for (auto& slot : resting_) {
    // Looking first spares the other calls' cache lines.
    if (slot.load(std::memory_order_relaxed) == nullptr) continue;
    std::unique_ptr<Context> context(slot.exchange(nullptr, std::memory_order_acquire));
    if (context && context->serves(threads)) return context;
  }
  return std::make_unique<Context>(arena_bytes_, scratch_bytes_, parallel_ ? threads : 1);
}

void Program::give(std::unique_ptr<Context> context) const {
  for (auto& slot : resting_) {
    Context* empty = nullptr;
    if (slot.compare_exchange_strong(empty, context.get(), std::memory_order_release, std::memory_order_relaxed)) {
      static_cast<void>(context.release());
      return;
    }
  }
}

template <class AfterStep, class AfterRun>
void Program::repeat(const void* const* inputs, void* const* outputs, int threads, int repeats, AfterStep after_step,
                     AfterRun after_run) const {
  const int used = parallel_ ? threads : 1;
  std::unique_ptr<Context> context = take(used);
  const Memory memory{context->arena(), inputs, outputs, constants_.data()};
  Pool& pool = context->pool();
  // Waking takes longer than the first steps.
  if (used > 1) pool.open(used);
  for (int i = 0; i < repeats; ++i) {
    for (const Planned& planned : steps_) {
      pool.run(*planned.step, planned.items, memory, used);
      after_step();
    }
    after_run();
  }
  if (used > 1) pool.close();
  give(std::move(context));
}

void Program::run(const void* const* inputs, void* const* outputs, int threads) const {
  const auto nothing = [] {};
  repeat(inputs, outputs, threads, 1, nothing, nothing);
}

namespace {

// Notes down the time since it was asked last.
class Stopwatch {
 public:
  explicit Stopwatch(std::int64_t* nanoseconds) : nanoseconds_(nanoseconds) {}
  void operator()() {
    const auto now = Clock::now();
    *nanoseconds_++ = std::chrono::duration_cast<std::chrono::nanoseconds>(now - last_).count();
    last_ = Clock::now();
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::int64_t* nanoseconds_;
  Clock::time_point last_ = Clock::now();
};

}  // namespace

void Program::time(const void* const* inputs, void* const* outputs, int threads, int repeats,
                   std::int64_t* nanoseconds) const {
  Stopwatch watch(nanoseconds);
  repeat(inputs, outputs, threads, repeats, [] {}, [&] { watch(); });
}

void Program::time_steps(const void* const* inputs, void* const* outputs, int threads, int repeats,
                         std::int64_t* nanoseconds) const {
  Stopwatch watch(nanoseconds);
  repeat(inputs, outputs, threads, repeats, [&] { watch(); }, [] {});
}

}  // namespace secateur
