#define SECATEUR_ISA avx512
#include "pool-inl.h"
