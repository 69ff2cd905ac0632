#include "masking.h"

#include <algorithm>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#define SECATEUR_HAS_DLSYM 1
#else
#define SECATEUR_HAS_DLSYM 0
#endif

// One function for each instruction set, chosen by the loader; not where a sanitizer would have to be there before it.
// (GCC 11 knows no levels of x86-64 here, and not all of AVX-512's parts.)
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SECATEUR_FOR_EACH_ISA __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SECATEUR_FOR_EACH_ISA
#endif

namespace secateur::masking {
namespace {

// As torch: fewer values are not worth waking another thread.
constexpr std::size_t kAlone = 32768;
// Threads meet at a multiple of this many values, and so in no cache line but for where an array starts within one.
constexpr std::size_t kRun = 64;

// A thread's share is bound by memory: with masks of bytes it reads 5 bytes and writes 4 for every float32, where a
// multiplication by a mask of its type reads 8.
#define SECATEUR_DEFINE_KEEP(name, Value)                                                    \
  SECATEUR_FOR_EACH_ISA void name(Value* values, const std::uint8_t* keeps, std::size_t n) { \
    for (std::size_t i = 0; i < n; ++i)                                                      \
      values[i] = static_cast<Value>(values[i] & static_cast<Value>(-static_cast<Value>(keeps[i]))); \
  }
SECATEUR_DEFINE_KEEP(keep_1, std::uint8_t)
SECATEUR_DEFINE_KEEP(keep_2, std::uint16_t)
SECATEUR_DEFINE_KEEP(keep_4, std::uint32_t)
SECATEUR_DEFINE_KEEP(keep_8, std::uint64_t)
#undef SECATEUR_DEFINE_KEEP

void keep_range(const Mask& mask, void* array, std::size_t begin, std::size_t end) {
  const std::uint8_t* const keeps = mask.keeps + begin;
  const std::size_t n = end - begin;
  switch (mask.bytes) {
    case 1: return keep_1(static_cast<std::uint8_t*>(array) + begin, keeps, n);
    case 2: return keep_2(static_cast<std::uint16_t*>(array) + begin, keeps, n);
    case 4: return keep_4(static_cast<std::uint32_t*>(array) + begin, keeps, n);
    case 8: return keep_8(static_cast<std::uint64_t*>(array) + begin, keeps, n);
    default: return;
  }
}

void keep_share(const std::vector<Mask>& masks, const std::vector<void*>& arrays, std::size_t share, std::size_t shares) {
  for (std::size_t i = 0; i < masks.size(); ++i) {
    if (arrays[i] == nullptr) continue;
    const std::size_t each = ((masks[i].count + shares - 1) / shares + kRun - 1) / kRun * kRun;
    const std::size_t begin = std::min(masks[i].count, share * each);
    keep_range(masks[i], arrays[i], begin, std::min(masks[i].count, begin + each));
  }
}

// The runtime that is loaded already, under the names of GNU's: LLVM's and Intel's have them, too.
struct Team {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
  int (*number)() = nullptr;
  int (*size)() = nullptr;

  Team() {
#if SECATEUR_HAS_DLSYM
    find(parallel, "GOMP_parallel");
    find(number, "omp_get_thread_num");
    find(size, "omp_get_num_threads");
#endif
  }

  bool is_complete() const { return parallel != nullptr && number != nullptr && size != nullptr; }

 private:
#if SECATEUR_HAS_DLSYM
  template <class Function>
  static void find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  }
#endif
};

const Team& team() {
  static const Team found;
  return found;
}

struct Work {
  const std::vector<Mask>& masks;
  const std::vector<void*>& arrays;
};

void keep_own_share(void* data) {
  const Work& work = *static_cast<const Work*>(data);
  keep_share(work.masks, work.arrays, static_cast<std::size_t>(team().number()),
             static_cast<std::size_t>(team().size()));
}

}  // namespace

bool has_threads() { return team().is_complete(); }

void keep(const std::vector<Mask>& masks, const std::vector<void*>& arrays, unsigned threads) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < masks.size(); ++i) count += arrays[i] != nullptr ? masks[i].count : 0;
  if (threads <= 1 || count < kAlone || !has_threads()) return keep_share(masks, arrays, 0, 1);
  Work work{masks, arrays};
  team().parallel(keep_own_share, &work, threads, 0);
}

}  // namespace secateur::masking
