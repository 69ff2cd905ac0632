#define SECATEUR_ISA avx512
#include "matmul-inl.h"
