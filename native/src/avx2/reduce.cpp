#define SECATEUR_ISA avx2
#include "reduce-inl.h"
