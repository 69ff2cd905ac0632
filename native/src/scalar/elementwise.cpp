#define SECATEUR_ISA scalar
#include "elementwise-inl.h"
