#define SECATEUR_ISA avx512
#include "norm-inl.h"
