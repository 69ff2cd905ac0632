#include "secateur/isa.h"

#if SECATEUR_X86
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace secateur {
namespace {

#if SECATEUR_X86

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf) {
  Registers r;
  if (__get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

// A processor may have what its operating system does not save on a switch: then it must not be used.
__attribute__((target("xsave"))) unsigned saved_state() {
  constexpr unsigned OSXSAVE = 1u << 27;
  return (cpuid(1).ecx & OSXSAVE) != 0 ? static_cast<unsigned>(_xgetbv(0)) : 0;
}

bool all(unsigned word, unsigned wanted) { return (word & wanted) == wanted; }

bool processor_has_avx2() {
  constexpr unsigned YMM = 0x6;
  constexpr unsigned FMA_POPCNT_AVX_F16C = (1u << 12) | (1u << 23) | (1u << 28) | (1u << 29);
  constexpr unsigned BMI_AVX2_BMI2 = (1u << 3) | (1u << 5) | (1u << 8);
  return all(saved_state(), YMM) && all(cpuid(1).ecx, FMA_POPCNT_AVX_F16C) && all(cpuid(7).ebx, BMI_AVX2_BMI2);
}

bool processor_has_avx512() {
  constexpr unsigned ZMM = 0xe6;
  constexpr unsigned F_DQ_BW_VL = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);
  return processor_has_avx2() && all(saved_state(), ZMM) && all(cpuid(7).ebx, F_DQ_BW_VL);
}

Isa detect() {
  if (processor_has_avx512()) return Isa::avx512;
  return processor_has_avx2() ? Isa::avx2 : Isa::scalar;
}

#else

Isa detect() { return Isa::scalar; }

#endif

}  // namespace

Isa best_isa() {
  static const Isa best = detect();
  return best;
}

// Each set contains the one before it.
bool has_isa(Isa isa) { return isa <= best_isa(); }

}  // namespace secateur
