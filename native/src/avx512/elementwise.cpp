#define SECATEUR_ISA avx512
#include "elementwise-inl.h"
