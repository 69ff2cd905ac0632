#define SECATEUR_ISA avx512
#include "reduce-inl.h"
