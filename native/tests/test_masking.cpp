// Masking comes to the same whatever the threads, and writes to nothing beside its arrays.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "masking.h"

using namespace secateur::masking;

namespace {

void check(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  std::exit(1);
}

// Arrays of `counts` values, each of exactly its size and one value late in memory: a sanitizer watches the ends.
void check_keep(const std::vector<std::size_t>& counts, unsigned bytes, unsigned threads, std::size_t without) {
  std::mt19937 draw(7);
  std::vector<std::vector<std::uint8_t>> keeps, arrays;
  std::vector<Mask> masks;
  std::vector<void*> given;
  for (const std::size_t count : counts) {
    std::vector<std::uint8_t> keep(count), array(count * bytes + bytes);
    for (auto& each : keep) each = draw() % 3 == 0;
    for (auto& each : array) each = static_cast<std::uint8_t>(1 + draw() % 255);
    keeps.push_back(std::move(keep));
    arrays.push_back(std::move(array));
  }
  const std::vector<std::vector<std::uint8_t>> before = arrays;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    masks.push_back({keeps[i].data(), counts[i], bytes});
    given.push_back(i == without ? nullptr : arrays[i].data() + bytes);
  }
  keep(masks, given, threads);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    check(std::memcmp(arrays[i].data(), before[i].data(), bytes) == 0, "what lies before an array");
    for (std::size_t j = 0; j < counts[i] * bytes; ++j) {
      const bool kept = i == without || keeps[i][j / bytes] != 0;
      check(arrays[i][bytes + j] == (kept ? before[i][bytes + j] : 0), "a value");
    }
  }
}

void check_all() {
  for (const unsigned bytes : {1u, 2u, 4u, 8u}) {
    for (const unsigned threads : {1u, 2u, 3u, 5u}) {
      check_keep({1, 63, 64, 65}, bytes, threads, 9);
      check_keep({32767}, bytes, threads, 9);
      check_keep({40001, 3, 0, 70000}, bytes, threads, 1);
      check_keep({40001, 3, 0, 70000}, bytes, threads, 3);
    }
  }
  keep({}, {}, 2);
}

}  // namespace

int main(int count, char** arguments) {
  // Once without an OpenMP runtime and once, in a process of its own, with one: it is looked for only once.
  if (count > 1 && std::strcmp(arguments[1], "threads") == 0) {
    if (dlopen("libgomp.so.1", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      std::puts("no OpenMP runtime here");
      return 0;
    }
    check(has_threads(), "threads are there");
  } else {
    check(!has_threads(), "no threads are there");
  }
  check_all();
}
