#define SECATEUR_ISA avx2
#include "pool-inl.h"
