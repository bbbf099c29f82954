/* x86-64 with AVX-512 (F, DQ, BW and VL): Intel servers since Skylake (2017), AMD since Zen 4 (2022). */

#ifdef __x86_64__
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512")
#endif
#define VARIANT avx512
#define VECTOR 64
#define ROWS 12
#include "variant.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
