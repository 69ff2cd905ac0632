#define SECATEUR_ISA avx2
#include "matmul-inl.h"
