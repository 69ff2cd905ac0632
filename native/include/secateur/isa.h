// Which instruction set runs: decided once.
#pragma once

#include <cstdint>

namespace secateur {

enum class Isa : std::uint8_t { scalar, avx2, avx512 };

// The best that both this build and this processor have.
Isa best_isa();
// Whether this build and this processor have it.
bool has_isa(Isa isa);

}  // namespace secateur
