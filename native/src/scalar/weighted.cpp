#define SECATEUR_ISA scalar
#include "weighted-inl.h"
