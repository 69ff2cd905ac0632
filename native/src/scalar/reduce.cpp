#define SECATEUR_ISA scalar
#include "reduce-inl.h"
