#define SECATEUR_ISA avx2
#include "weighted-inl.h"
