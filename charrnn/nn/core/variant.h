/* Compile the kernels for one kind of processor: for single precision, then for double.

   VARIANT  its name
   VECTOR   bytes of a vector
   ROWS     rows of a product's block: two vectors for each row, and three more, must fit the registers */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define EPSILON (REAL)1e-5 /* as in lnlstm.py */
#define TINY (REAL)1e-12 /* added to the length of a key; this and the next two as in charrnn/memory/ */
#define LEAST_AGREEMENT 1e-6
#define MOST_SHARE 0.999
#define JOIN(name, variant, type) name##_##variant##_##type
#define EXPAND(name, variant, type) JOIN(name, variant, type)
#define NAME(name) EXPAND(name, VARIANT, REAL)
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 12")
#endif

#define SINGLE 0
#define REAL double
#include "vector.h"
#include "product.h"
#include "cells.h"
#include "net.h"
#include "recall.h"
#include "training.h"
#include "draw.h" /* float samples too are drawn in double */
#include "sample.h"
#undef REAL
#undef SINGLE

#define SINGLE 1
#define REAL float
#include "vector.h"
#include "product.h"
#include "cells.h"
#include "net.h"
#include "recall.h"
#include "training.h"
#include "sample.h"
#undef REAL

#define OF(name, type) (void *)EXPAND(name, VARIANT, type)
#define FUNCTIONS(type)                                                                                                \
    {                                                                                                                  \
        .panel = 2 * VECTOR / sizeof(type),                                                                            \
        .pack = OF(pack, type),                                                                                        \
        .forward = {OF(rnn_forward, type), OF(lstm_forward, type), OF(gru_forward, type), OF(lnlstm_forward, type),    \
            OF(lnmlstm_forward, type)},                                                                                \
        .backward                                                                                                      \
        = {OF(rnn_backward, type), OF(lstm_backward, type), OF(gru_backward, type), OF(lnlstm_backward, type),         \
            OF(lnmlstm_backward, type)},                                                                               \
        .read = OF(read_window, type),                                                                                 \
        .step = OF(step_logits, type),                                                                                 \
        .recall = OF(recall, type),                                                                                    \
        .sample = OF(sample, type),                                                                                    \
        .add_rows = OF(add_rows, type),                                                                                \
        .cross_entropy = OF(cross_entropy, type),                                                                      \
        .normalise_rows = OF(normalise_rows, type),                                                                    \
        .normalise_rows_back = OF(normalise_rows_back, type),                                                          \
        .adam = OF(adam, type),                                                                                        \
        .average = OF(average, type),                                                                                  \
    }
#define TABLE_OF(variant) kernels_##variant
#define TABLE(variant) TABLE_OF(variant)

const Kernels TABLE(VARIANT)[2] = {FUNCTIONS(float), FUNCTIONS(double)};
