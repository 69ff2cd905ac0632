#define SECATEUR_ISA avx2
#include "elementwise-inl.h"
