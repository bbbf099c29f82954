/* What every processor of the platform has: SSE2 on x86-64, NEON on ARM. */

#define VARIANT baseline
#define VECTOR 16
#ifdef __aarch64__
#define ROWS 12
#else
#define ROWS 6
#endif
#include "variant.h"
