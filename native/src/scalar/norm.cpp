#define SECATEUR_ISA scalar
#include "norm-inl.h"
