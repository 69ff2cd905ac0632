#include "weighted_kernels.h"

namespace secateur {

const WeightedKernels& weighted_kernels(Isa isa) {
#if SECATEUR_X86
  switch (isa) {
    case Isa::avx512: return avx512::weighted_kernels();
    case Isa::avx2: return avx2::weighted_kernels();
    case Isa::scalar: break;
  }
#else
  (void)isa;
#endif
  return scalar::weighted_kernels();
}

}  // namespace secateur
