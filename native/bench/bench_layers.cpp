// Times the weighted layers on the shapes of VGG-16, AlexNet and LeNet, beside the machine's own limit.
//
// bench_layers [name-filter] [threads] [kernel-filter] [density] [batch] [isa]: one line a (layer, density, kernel). GFLOP/s
// count the non-zeros alone, and "peak" is of what a loop of independent fused multiply-adds reached in this run.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "aligned.h"
#include "line_layout.h"
#include "secateur/names.h"
#include "secateur/weighted.h"

#if SECATEUR_X86
#include <immintrin.h>
#endif

namespace secateur {
namespace {

// On one thread the processor's own time: what else runs on the machine is not ours to count.
bool processor_time = false;

double now() {
  if (processor_time) {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

#if SECATEUR_X86
// In assembly: GCC keeps ten running sums in memory.
#define SECATEUR_FMA_OF_TEN(REGISTER)                                                                                  \
  "vfmadd213ps %0, %0, %%" REGISTER "0\n vfmadd213ps %0, %0, %%" REGISTER "1\n"                                        \
  "vfmadd213ps %0, %0, %%" REGISTER "2\n vfmadd213ps %0, %0, %%" REGISTER "3\n"                                        \
  "vfmadd213ps %0, %0, %%" REGISTER "4\n vfmadd213ps %0, %0, %%" REGISTER "5\n"                                        \
  "vfmadd213ps %0, %0, %%" REGISTER "6\n vfmadd213ps %0, %0, %%" REGISTER "7\n"                                        \
  "vfmadd213ps %0, %0, %%" REGISTER "8\n vfmadd213ps %0, %0, %%" REGISTER "9\n"
constexpr int ROUNDS = 20000;
#define SECATEUR_CLOBBERED "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9"

__attribute__((target("avx2,fma"))) void fma_avx2() {
  const __m256 one = _mm256_set1_ps(0.5f);
  for (int round = 0; round < ROUNDS; ++round) asm volatile(SECATEUR_FMA_OF_TEN("ymm") : : "x"(one) : SECATEUR_CLOBBERED);
}

__attribute__((target("avx512f"))) void fma_avx512() {
  const __m512 one = _mm512_set1_ps(0.5f);
  for (int round = 0; round < ROUNDS; ++round) asm volatile(SECATEUR_FMA_OF_TEN("zmm") : : "v"(one) : SECATEUR_CLOBBERED);
}

double peak_loop(Isa isa, double seconds) {
  if (isa == Isa::scalar) return 1.0;
  const bool wide = isa == Isa::avx512;
  std::vector<double> speeds;
  const double end = now() + seconds;
  while (now() < end) {
    const double start = now();
    wide ? fma_avx512() : fma_avx2();
    speeds.push_back(2.0 * (wide ? 16 : 8) * 10 * ROUNDS / (now() - start));
  }
  // The clock of a virtual machine is sometimes set right within a round, so the very best is not to be believed.
  std::sort(speeds.begin(), speeds.end());
  return speeds[speeds.size() * 9 / 10] / 1e9;
}
#else
double peak_loop(Isa, double) { return 1.0; }
#endif

// One worker a thread, all of them spinning: what is timed is the step.
double time_step(const Step& step, const Memory& memory, int threads, double seconds) {
  const std::int64_t items = step.items();
  const int used = static_cast<int>(std::min<std::int64_t>(threads, items));
  std::vector<AlignedBytes> scratch;
  for (int t = 0; t < used; ++t) scratch.push_back(aligned_bytes(step.scratch_bytes()));
  std::atomic<int> round{0}, done{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;
  for (int t = 1; t < used; ++t) {
    workers.emplace_back([&, t] {
      int seen = 0;
      while (true) {
        while (round.load(std::memory_order_acquire) == seen) {
          if (stop.load()) return;
        }
        ++seen;
        step.run(items * t / used, items * (t + 1) / used, memory, scratch[static_cast<std::size_t>(t)].get());
        done.fetch_add(1, std::memory_order_release);
      }
    });
  }
  std::vector<double> times;
  const double end = now() + seconds;
  while (times.size() < 3 || now() < end) {
    done.store(0);
    const double start = now();
    round.fetch_add(1, std::memory_order_release);
    step.run(0, items / used, memory, scratch[0].get());
    while (done.load(std::memory_order_acquire) < used - 1) {
    }
    times.push_back(now() - start);
  }
  stop.store(true);
  for (std::thread& worker : workers) worker.join();
  // Whatever else runs on the machine only ever adds time.
  return *std::min_element(times.begin(), times.end());
}

struct Layer {
  const char* name;
  bool linear;
  std::int64_t in, size, out, kernel, stride, pad, groups;
  double paper;  // its density in the paper
  std::int64_t pool = 1;  // side of the windows that follow
};

constexpr Layer LAYERS[] = {
    {"vgg.conv1_1", false, 3, 224, 64, 3, 1, 1, 1, 0.58},    {"vgg.conv1_2", false, 64, 224, 64, 3, 1, 1, 1, 0.22},
    {"vgg.conv2_1", false, 64, 112, 128, 3, 1, 1, 1, 0.34},  {"vgg.conv2_2", false, 128, 112, 128, 3, 1, 1, 1, 0.36},
    {"vgg.conv3_1", false, 128, 56, 256, 3, 1, 1, 1, 0.53},  {"vgg.conv3_2", false, 256, 56, 256, 3, 1, 1, 1, 0.24},
    {"vgg.conv4_1", false, 256, 28, 512, 3, 1, 1, 1, 0.32},  {"vgg.conv4_2", false, 512, 28, 512, 3, 1, 1, 1, 0.27},
    {"vgg.conv5_1", false, 512, 14, 512, 3, 1, 1, 1, 0.35},  {"alex.conv1", false, 3, 224, 96, 11, 4, 2, 1, 0.84},
    {"alex.conv2", false, 96, 27, 256, 5, 1, 2, 2, 0.38},    {"alex.conv3", false, 256, 13, 384, 3, 1, 1, 1, 0.35},
    {"alex.conv4", false, 384, 13, 384, 3, 1, 1, 2, 0.37},   {"alex.conv5", false, 384, 13, 256, 3, 1, 1, 2, 0.37},
    {"lenet5.conv1", false, 1, 28, 20, 5, 1, 0, 1, 0.66, 2}, {"lenet5.conv2", false, 20, 12, 50, 5, 1, 0, 1, 0.12, 2},
    {"resnet.1x1", false, 256, 14, 1024, 1, 1, 0, 1, 0.2},   {"resnet.7x7", false, 512, 7, 512, 3, 1, 1, 1, 0.2},
    {"mobile.dw56", false, 128, 56, 128, 3, 1, 1, 128, 1.0}, {"mobile.dw14", false, 512, 14, 512, 3, 1, 1, 512, 1.0},
    {"alex.fc6", true, 9216, 1, 4096, 1, 1, 0, 1, 0.09},     {"alex.fc7", true, 4096, 1, 4096, 1, 1, 0, 1, 0.09},
    {"alex.fc8", true, 4096, 1, 1000, 1, 1, 0, 1, 0.25},     {"vgg.fc6", true, 25088, 1, 4096, 1, 1, 0, 1, 0.04},
    {"lenet300.fc1", true, 784, 1, 300, 1, 1, 0, 1, 0.08},   {"lenet300.fc2", true, 300, 1, 100, 1, 1, 0, 1, 0.09},
    {"lenet5.fc1", true, 800, 1, 500, 1, 1, 0, 1, 0.08},
};

std::vector<float> random_floats(std::size_t count, double density) {
  std::mt19937 random(1);
  std::vector<float> out(count);
  const auto limit = static_cast<std::uint32_t>(density * 4294967295.0);
  for (float& x : out) {
    const bool kept = random() <= limit;
    x = kept ? static_cast<float>(random()) * 0x1p-32f - 0.5f : 0.0f;
  }
  return out;
}

struct Bench {
  const char* kernels;
  Isa isa;
  int threads;
  double peak;

  void line(const char* layer, std::int64_t batch, double density, const char* kernel, double seconds, double flops,
            const Step& step) const {
    std::printf("%-13s x%-3d %5.2f %-14s %9.4f ms %8.1f GF/s %5.1f %% of peak  items %lld\n", layer,
                static_cast<int>(batch), density, kernel, 1e3 * seconds, flops / seconds / 1e9,
                100 * flops / seconds / 1e9 / peak, static_cast<long long>(step.items()));
    std::fflush(stdout);
  }
};

void bench_convolution(const Bench& bench, const Layer& layer, std::int64_t batch, double density) {
  ConvolutionShape s;
  s.images = batch;
  s.in_channels = layer.in;
  s.in_height = s.in_width = layer.size;
  s.out_channels = layer.out;
  s.kernel_height = s.kernel_width = layer.kernel;
  s.stride_height = s.stride_width = layer.stride;
  s.pad_top = s.pad_left = layer.pad;
  s.groups = layer.groups;
  s.out_height = s.out_width = (layer.size + 2 * layer.pad - layer.kernel) / layer.stride + 1;
  s.pool_height = s.pool_width = layer.pool;
  const std::int64_t length = layer.in / layer.groups * layer.kernel * layer.kernel;
  const std::vector<float> weights = random_floats(static_cast<std::size_t>(layer.out * length), density);
  const std::vector<float> x = random_floats(static_cast<std::size_t>(batch * layer.in * layer.size * layer.size), 1.0);
  const std::vector<float> bias = random_floats(static_cast<std::size_t>(layer.out), 1.0);
  std::vector<float> y(static_cast<std::size_t>(batch * layer.out * s.out_height * s.out_width));
  const Matrix matrix{LayoutKind::dense,  ValueType::float32, layer.out, length,
                      layer.out * length, weights.data(),     nullptr,   nullptr};
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data()};
  const void* constants[] = {bias.data()};
  const Memory memory{nullptr, inputs, outputs, constants};
  double nonzeros = 0;
  for (const float w : weights) nonzeros += w != 0.0f;
  for (int k = 0; k < static_cast<int>(std::size(CONVOLUTION_NAMES)); ++k) {
    const auto kernel = static_cast<ConvolutionKernel>(k);
    if (std::strstr(CONVOLUTION_NAMES[k], bench.kernels) == nullptr || !applicable(kernel, s, bench.isa)) continue;
    const auto step = make_convolution(kernel, bench.isa, s, matrix, {Space::input, 0}, {Space::output, 0},
                                       {Space::constant, 0}, {}, {ActivationKind::relu, 0, 0});
    const double seconds = time_step(*step, memory, bench.threads, 0.15);
    bench.line(layer.name, batch, density, CONVOLUTION_NAMES[k], seconds,
               2 * nonzeros * static_cast<double>(s.out_height * s.out_width * batch), *step);
  }
}

void bench_linear(const Bench& bench, const Layer& layer, std::int64_t batch, double density) {
  const LinearShape s{batch, layer.in, layer.out};
  const std::vector<float> weights = random_floats(static_cast<std::size_t>(s.in * s.out), density);
  const Matrix dense{LayoutKind::dense, ValueType::float32, s.out,   s.in,
                     s.in * s.out,      weights.data(),     nullptr, nullptr};
  const OwnedLines rows = to_gaps(dense);
  std::vector<float> turned(weights.size());
  for (std::int64_t i = 0; i < s.in * s.out; ++i) {
    turned[static_cast<std::size_t>(i % s.in * s.out + i / s.in)] = weights[static_cast<std::size_t>(i)];
  }
  const Matrix by_inputs{LayoutKind::dense, ValueType::float32, s.in,   s.out,
                         s.in * s.out,      turned.data(),      nullptr, nullptr};
  // As a file has them, by their bytes.
  const OwnedLines columns = density < 0.125 ? to_gaps(by_inputs) : to_bitmask(by_inputs);
  // Half of what a layer behind a ReLU reads is zero.
  const std::vector<float> x = random_floats(static_cast<std::size_t>(batch * s.in), 0.5);
  const std::vector<float> bias = random_floats(static_cast<std::size_t>(s.out), 1.0);
  std::vector<float> y(static_cast<std::size_t>(batch * s.out));
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data()};
  const void* constants[] = {bias.data()};
  double nonzeros = 0;
  for (const float w : weights) nonzeros += w != 0.0f;
  for (int k = 0; k < static_cast<int>(std::size(LINEAR_NAMES)); ++k) {
    const auto kernel = static_cast<LinearKernel>(k);
    const bool by_columns = kernel == LinearKernel::inputs;
    const Matrix& matrix = by_columns ? columns.view : kernel == LinearKernel::dense ? dense : rows.view;
    if (std::strstr(LINEAR_NAMES[k], bench.kernels) == nullptr || !applicable(kernel, s, matrix, by_columns, bench.isa)) {
      continue;
    }
    if (kernel == LinearKernel::dense && density < 1.0) continue;
    const AlignedBytes arena = aligned_bytes(linear_workspace_bytes(kernel, s, matrix, by_columns, bench.isa));
    const Memory memory{arena.get(), inputs, outputs, constants};
    double seconds = 0;
    const auto steps = make_linear(kernel, bench.isa, s, matrix, by_columns, {Space::input, 0}, {Space::output, 0},
                                   {Space::constant, 0}, {}, {ActivationKind::relu, 0, 0}, {Space::arena, 0});
    for (const auto& step : steps) seconds += time_step(*step, memory, bench.threads, 0.1);
    bench.line(layer.name, batch, density, LINEAR_NAMES[k], seconds, 2 * nonzeros * static_cast<double>(batch), *steps[0]);
  }
}

Isa isa_named(const std::string& name) {
  const Isa isa = name == "avx512" ? Isa::avx512 : name == "avx2" ? Isa::avx2 : Isa::scalar;
  if (has_isa(isa)) return isa;
  std::fprintf(stderr, "this processor has no %s\n", name.c_str());
  std::exit(1);
}

}  // namespace
}  // namespace secateur

int main(int argc, char** argv) {
  using namespace secateur;
  const std::string filter = argc > 1 ? argv[1] : "";
  const int threads = argc > 2 ? std::atoi(argv[2]) : 2;
  const char* kernels = argc > 3 ? argv[3] : "";
  const double only = argc > 4 ? std::atof(argv[4]) : 0;
  const std::int64_t batch = argc > 5 ? std::atoi(argv[5]) : 1;
  processor_time = threads == 1;
  const Isa isa = argc > 6 ? isa_named(argv[6]) : best_isa();
  const double peak = peak_loop(isa, 0.2) * threads;
  std::printf("peak %.1f GF/s on %d threads\n", peak, threads);
  const Bench bench{kernels, isa, threads, peak};
  for (const Layer& layer : LAYERS) {
    if (std::strstr(layer.name, filter.c_str()) == nullptr) continue;
    const std::vector<double> densities = only > 0 ? std::vector<double>{only} : std::vector<double>{layer.paper, 0.1, 1.0};
    for (const double density : densities) {
      if (layer.groups == layer.in && layer.in > 1 && density < 1.0) continue;
      if (layer.linear) {
        bench_linear(bench, layer, batch, density);
      } else {
        bench_convolution(bench, layer, batch, density);
      }
    }
  }
  return 0;
}
