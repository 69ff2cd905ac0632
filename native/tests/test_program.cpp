// Programs: memory between steps, calls at once, forks, and plans that are refused.
#include "secateur/program.h"

#include <sys/wait.h>
#include <unistd.h>

#include <numeric>

#include "step_check.h"

namespace secateur::testing {
namespace {

long cases = 0;

constexpr std::int64_t COUNT = 200000;
constexpr std::int64_t BYTES = COUNT * 4;

// y = -(x + relu(x)), through two tensors of the arena.
std::unique_ptr<Program> large_program(Isa isa) {
  auto program = std::make_unique<Program>(isa);
  const Ref middle{Space::arena, 0};
  const Ref sum{Space::arena, BYTES};
  program->add(make_elementwise(isa, SOURCE, middle, COUNT, {ActivationKind::relu}), "relu", {{SOURCE, BYTES}}, {{middle, BYTES}});
  program->add(make_binary(isa, BinaryKind::add, SOURCE, middle, sum, {COUNT}, {COUNT}, {COUNT}, {}), "add",
               {{SOURCE, BYTES}, {middle, BYTES}}, {{sum, BYTES}});
  program->add(make_elementwise(isa, sum, OUTPUT, COUNT, {ActivationKind::negative}), "negative", {{sum, BYTES}},
               {{OUTPUT, BYTES}});
  program->finish(2 * BYTES);
  return program;
}

bool runs_right(const Program& program, int threads, unsigned seed) {
  const std::vector<float> x = small_integers(COUNT, seed);
  std::vector<float> y(COUNT);
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data()};
  program.run(inputs, outputs, threads);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (y[i] != -(x[i] + std::max(x[i], 0.0f))) return false;
  }
  return true;
}

void check_threads() {
  for (const Isa isa : isas()) {
    const auto program = large_program(isa);
    expect(program->input_bytes() == std::vector<std::int64_t>{BYTES}, "what an input must hold");
    expect(program->output_bytes() == std::vector<std::int64_t>{BYTES}, "what an output must hold");
    for (const int threads : {1, 2, 5, 2, 1}) {
      expect(runs_right(*program, threads, 3), std::string(name(isa)) + " on " + std::to_string(threads) + " threads");
      ++cases;
    }
  }
}

void check_calls_at_once() {
  const auto program = large_program(best_isa());
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  // More than contexts are kept.
  for (unsigned i = 0; i < 20; ++i) {
    callers.emplace_back([&, i] {
      for (int run = 0; run < 3; ++run) wrong += !runs_right(*program, 1 + static_cast<int>(i % 3), i);
    });
  }
  for (std::thread& caller : callers) caller.join();
  expect(wrong == 0, "calls at once met");
  ++cases;
}

// A thread sanitizer refuses forks of processes with threads.
#if !defined(__SANITIZE_THREAD__)
void check_fork() {
  const auto program = large_program(best_isa());
  expect(runs_right(*program, 3, 1), "before the fork");
  const pid_t child = fork();
  if (child == 0) _exit(runs_right(*program, 3, 2) && runs_right(*program, 2, 3) ? 0 : 1);
  int status = 1;
  waitpid(child, &status, 0);
  expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "in the child");
  expect(runs_right(*program, 3, 4), "after the fork");
  ++cases;
}
#endif

void check_times() {
  const auto program = large_program(best_isa());
  const std::vector<float> x = small_integers(COUNT);
  std::vector<float> y(COUNT);
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data()};
  std::vector<std::int64_t> whole(4, -1);
  std::vector<std::int64_t> steps(12, -1);
  program->time(inputs, outputs, 2, 4, whole.data());
  program->time_steps(inputs, outputs, 2, 4, steps.data());
  for (const std::int64_t t : whole) expect(t > 0, "a run takes time");
  for (const std::int64_t t : steps) expect(t > 0, "a step takes time");
  ++cases;
}

// Each of some layers adds up its input with weights of its own; most of them pack as if they were large.
constexpr std::int64_t LAYERS = 7;

MakeLayer sums(Isa isa, const std::vector<float>& weights, Ref output) {
  return [isa, &weights, output] {
    const auto length = static_cast<std::int64_t>(weights.size());
    const Matrix matrix{LayoutKind::dense, ValueType::float32, 1, length, length, weights.data(), nullptr, nullptr};
    return make_linear(LinearKernel::dense, isa, {1, length, 1}, matrix, false, SOURCE, output, {}, {}, {}, {});
  };
}

void check_layers() {
  const std::vector<float> x = small_integers(40);
  std::vector<std::vector<float>> weights;
  for (unsigned i = 0; i < LAYERS; ++i) weights.push_back(small_integers(40, i));
  for (const int threads : {1, 2, 5, 20}) {
    Program program(Isa::scalar);
    for (std::int64_t i = 0; i < LAYERS; ++i) {
      const Ref output{Space::output, i};
      const std::int64_t entries = i == 3 ? 40 : 1'000'000 * i;
      program.add_layer(sums(Isa::scalar, weights[static_cast<std::size_t>(i)], output), entries, std::to_string(i),
                        {{SOURCE, 160}}, {{output, 4}});
    }
    program.finish(0, threads);
    float y[LAYERS] = {};
    const void* inputs[] = {x.data()};
    void* outputs[LAYERS];
    for (std::int64_t i = 0; i < LAYERS; ++i) outputs[i] = y + i;
    program.run(inputs, outputs, 1);
    for (std::size_t i = 0; i < LAYERS; ++i) {
      expect(program.names()[i] == std::to_string(i), "layers stay in their order");
      expect(y[i] == std::inner_product(x.begin(), x.end(), weights[i].begin(), 0.0f), "each layer has its own weights");
    }
    ++cases;
  }
}

void check_layers_that_fail() {
  const std::vector<float> weights = small_integers(40);
  for (const int threads : {1, 4}) {
    Program program(Isa::scalar);
    for (int i = 0; i < LAYERS; ++i) {
      const MakeLayer broken = []() -> std::vector<std::unique_ptr<WeightedStep>> { throw std::invalid_argument("broken"); };
      program.add_layer(i == 4 ? broken : sums(Isa::scalar, weights, OUTPUT), 1'000'000, "layer", {{SOURCE, 160}},
                        {{OUTPUT, 4}});
    }
    for (int again = 0; again < 2; ++again) {
      expect_refusal("broken", [&] { program.finish(0, threads); });
      expect(!program.finished() && program.names().empty(), "what failed is what it was before");
    }
    ++cases;
  }
}

void check_refusals() {
  Program program(Isa::scalar);
  const auto add = [&](Use read, Use write) {
    program.add(make_copy(read.ref, write.ref, 1), "copy", {read}, {write});
  };
  expect_refusal("arena byte 4: an offset is a multiple of 64", [&] { add({{Space::arena, 4}, 4}, {OUTPUT, 4}); });
  expect_refusal("an index is not negative", [&] { add({{Space::arena, -64}, 4}, {OUTPUT, 4}); });
  expect_refusal("beyond any memory", [&] { add({{Space::arena, INT64_MAX - 63}, 64}, {OUTPUT, 4}); });
  expect_refusal("inputs are only read", [&] { add({SOURCE, 4}, {SECOND, 4}); });
  expect_refusal("there must be something", [&] { add({SOURCE, 4}, {Ref{}, 4}); });
  expect_refusal("at most 65536", [&] { add({{Space::input, 1 << 16}, 4}, {OUTPUT, 4}); });
  expect_refusal("there are 0 constants", [&] { add({{Space::constant, 0}, 4}, {OUTPUT, 4}); });
  const float one = 1;
  expect(program.add_constant(&one, 4) == 0, "the first constant");
  expect_refusal("reads 8 bytes, the constant has 4", [&] { add({{Space::constant, 0}, 8}, {OUTPUT, 4}); });
  expect_refusal("constants are only read", [&] { add({SOURCE, 4}, {{Space::constant, 0}, 4}); });
  add({SOURCE, 4}, {{Space::arena, 128}, 4});
  expect_refusal("the arena has 131 bytes, the steps use 132", [&] { program.finish(131); });
  program.finish(132);
  expect_refusal("finished already", [&] { program.finish(132); });
  expect_refusal("the program is finished", [&] { add({SOURCE, 4}, {OUTPUT, 4}); });
  expect_refusal("the program is finished", [&] { program.add_constant(&one, 4); });
  ++cases;
}

}  // namespace
}  // namespace secateur::testing

int main() {
  using namespace secateur::testing;
  check_threads();
  check_calls_at_once();
#if !defined(__SANITIZE_THREAD__)
  check_fork();
#endif
  check_times();
  check_layers();
  check_layers_that_fail();
  check_refusals();
  return report(cases);
}
