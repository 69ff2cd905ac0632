#define SECATEUR_ISA scalar
#include "pool-inl.h"
