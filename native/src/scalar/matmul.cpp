#define SECATEUR_ISA scalar
#include "matmul-inl.h"
