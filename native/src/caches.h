// What is known of the processor's caches.
#pragma once

#include <cstdint>

#if defined(__linux__)
#include <unistd.h>
#endif

namespace secateur {

// Of a core's first-level data cache, where the system says it and it is believable.
inline std::int64_t first_level_bytes() {
  constexpr std::int64_t USUAL = 32 * 1024;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  const std::int64_t found = sysconf(_SC_LEVEL1_DCACHE_SIZE);
  if (USUAL <= found && found <= 4 * USUAL) return found;
#endif
  return USUAL;
}

}  // namespace secateur
