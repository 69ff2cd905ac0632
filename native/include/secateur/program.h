// A list of steps, made once and run many times.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "secateur/isa.h"
#include "secateur/step.h"
#include "secateur/weighted.h"

namespace secateur {

class Context;

// Bytes that a step reads or writes from where a Ref points on.
struct Use {
  Ref ref;
  std::int64_t bytes = 0;
};

// What the steps of a layer keep of its weights: as WeightedStep says.
struct LayerMemory {
  std::size_t packed_bytes = 0;
  bool reads_matrix = false;
};

// Packs the weights of one layer, and gives the step that it is, or two.
using MakeLayer = std::function<std::vector<std::unique_ptr<WeightedStep>>()>;

// Built by one thread; after finish() run by any number at once.
//
// Everything that steps touch is declared with them, so that finish() can refuse a plan that leaves its memory, and a
// caller can be told how long its inputs and outputs must be. Running checks nothing.
class Program {
 public:
  explicit Program(Isa isa) : isa_(isa) {}
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  Isa isa() const noexcept { return isa_; }

  // The caller keeps the memory alive. Gives the index for a Ref.
  std::int64_t add_constant(const void* data, std::int64_t bytes);
  const void* constant(std::int64_t index) const { return constants_.at(static_cast<std::size_t>(index)); }
  // Throws std::invalid_argument for a use that can be seen to be wrong already.
  void add(std::unique_ptr<Step> step, std::string name, const std::vector<Use>& reads, const std::vector<Use>& writes);
  // Packing takes nearly all the time that a program takes to build: finish() calls `make`, several layers' at once.
  // `entries`: of its weights, to begin with the largest.
  void add_layer(MakeLayer make, std::int64_t entries, std::string name, const std::vector<Use>& reads,
                 const std::vector<Use>& writes);
  // No more steps. Throws std::invalid_argument if a step leaves the arena, and what making a layer throws: the program
  // is then what it was before.
  void finish(std::int64_t arena_bytes, int threads = 1);
  bool finished() const noexcept { return finished_; }

  // Throws std::bad_alloc or std::system_error, both in the first call with that many threads alone.
  void run(const void* const* inputs, void* const* outputs, int threads) const;
  // Nanoseconds of each of so many runs, the first of which pays for the memory it meets first.
  void time(const void* const* inputs, void* const* outputs, int threads, int repeats, std::int64_t* nanoseconds) const;
  // Nanoseconds of each step of each run, run by run.
  void time_steps(const void* const* inputs, void* const* outputs, int threads, int repeats,
                  std::int64_t* nanoseconds) const;

  const std::vector<std::string>& names() const noexcept { return names_; }
  // Of each layer, in the order in which they were added.
  const std::vector<LayerMemory>& memories() const noexcept { return memories_; }
  // What the steps read of each input and write of each output.
  const std::vector<std::int64_t>& input_bytes() const noexcept { return input_bytes_; }
  const std::vector<std::int64_t>& output_bytes() const noexcept { return output_bytes_; }

 private:
  struct Planned {
    std::unique_ptr<Step> step;
    std::int64_t items;
  };
  // Until all are made: a step, or a layer.
  struct Listed {
    std::unique_ptr<Step> step;
    MakeLayer make;
    std::int64_t entries;
    std::string name;
  };
  // Contexts at rest. More calls at once than there is room for here make their own and throw them away.
  static constexpr std::size_t SLOTS = 16;

  void list(Listed listed, const std::vector<Use>& reads, const std::vector<Use>& writes);
  void note(const Use& use, bool written);
  void plan(std::unique_ptr<Step> step) noexcept;
  template <class AfterStep, class AfterRun>
  void repeat(const void* const* inputs, void* const* outputs, int threads, int repeats, AfterStep after_step,
              AfterRun after_run) const;
  std::unique_ptr<Context> take(int threads) const;
  void give(std::unique_ptr<Context> context) const;

  Isa isa_;
  bool finished_ = false;
  std::vector<Listed> listed_;
  std::vector<Planned> steps_;
  std::vector<std::string> names_;
  std::vector<const void*> constants_;
  std::vector<std::int64_t> constant_bytes_, input_bytes_, output_bytes_;
  std::int64_t arena_bytes_ = 0;
  std::int64_t arena_used_ = 0;
  std::size_t scratch_bytes_ = 0;
  std::vector<LayerMemory> memories_;
  bool parallel_ = false;
  mutable std::array<std::atomic<Context*>, SLOTS> resting_{};
};

}  // namespace secateur
