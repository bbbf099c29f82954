/* x86-64 with AVX2 and FMA: Intel since Haswell (2013), AMD since Zen (2017). */

#ifdef __x86_64__
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define VARIANT avx2
#define VECTOR 32
#define ROWS 6
#include "variant.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
