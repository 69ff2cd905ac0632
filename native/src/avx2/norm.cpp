#define SECATEUR_ISA avx2
#include "norm-inl.h"
