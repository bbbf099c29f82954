/* What core.c and the kernels share: the description of a window, of a net, and the table of a variant's functions. */

#ifndef KERNELS_H
#define KERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef ptrdiff_t Size;

#define MOST_ARRAYS 22
#define MOST_LAYERS 64

enum { RNN, LSTM, GRU, LNLSTM, LNMLSTM, CELLS };

/* A window of T steps and B batch rows of a layer. keep (T, B) is 0 where the state is reset before the step; or NULL. */
typedef struct {
    Size T, B, H;
    const unsigned char *keep;
    void *array[MOST_ARRAYS]; /* in the order of the kernel */
} Window;

/* A layer that only reads. Matrices are packed, but `inputs` and `inputs_m` of the first layer: x W_xh + b_h and x W_xm,
   a row for each id. */
typedef struct {
    const void *inputs, *bias, *gain_x, *W_hh, *b_hn, *gain_h, *gain_c, *b_c, *inputs_m, *W_hm;
} Layer;

/* A net that only reads. G gates, S states; W_he and E > 0 with a tied embedding. */
typedef struct {
    int cell;
    Size L, S, G, H, V, E;
    const void *W_he, *W_hy, *b_y;
    Layer layers[MOST_LAYERS];
} Net;

/* The continuous cache of B rows, of which each remembers the last N positions, in a ring of more slots than that.
   projection (H, D), packed; rows (B): where the entries of each row are among P others. keys (P, slots, D), each packed
   as a matrix (D, slots) of the numbers in `recall.h`; ids (P, slots) that followed; counts (P): entries since the row
   was empty, the last of which may wait for its id. first: entries that a row begins with, all complete. gate
   (FEATURES + 1): a weight for each feature, then the bias; NULL if features are requested. temperature: of the net,
   before its probabilities are mixed; logits are such that dividing them by it gives the mixture. */
#define FEATURES 8
typedef struct {
    Size H, D, N, slots, first, P;
    double sharpness, temperature;
    const void *projection, *centre, *first_keys;
    const int32_t *first_ids;
    const double *gate;
    const int64_t *rows;
    void *keys;
    int32_t *ids;
    int64_t *counts;
} Memory;

/* The filters of `charrnn/generation/filters.py`. penalty is a logarithm; never is an id that is not drawn, or -1. */
typedef struct {
    double temperature, top_p, min_p, penalty;
    Size top_k, window, never;
} Filters;

/* B samples that grow. Before the first drawn id come the W in `recent`, padded in front with -1. `halting` is 1 for
   ids that may end a sample, (V). ids and log_probs, which may be NULL, (n, B). */
typedef struct {
    Size n, B, V, W;
    void *logits, *state;
    const double *uniforms; /* (B, n) */
    intptr_t *recent, *ids;
    const unsigned char *halting;
    void *log_probs;
} Samples;

/* The functions of a variant for one type of numbers. */
typedef struct {
    Size panel;
    void (*pack)(Size K, Size N, const void *W, int transposed, void *packed);
    void (*forward[CELLS])(const Window *);
    void (*backward[CELLS])(const Window *);
    int (*read)(const Net *, Size T, Size B, const int32_t *ids, const unsigned char *keep, void *state,
        const int32_t *targets, void *log_probs, unsigned char *correct, void *outputs);
    int (*recall)(const Memory *, Size T, Size B, Size V, const int32_t *ids, const unsigned char *keep, const void *h,
        void *logits, double *features);
    int (*step)(const Net *, Size B, const int32_t *ids, void *state, void *logits);
    Size (*sample)(const Net *, const Memory *, const Filters *, const Samples *);
    void (*add_rows)(Size N, Size K, const int32_t *ids, const void *rows, void *total);
    void (*normalise_rows)(Size N, Size K, void *n, void *scale, const void *gain, const void *bias, void *out);
    void (*normalise_rows_back)(
        Size N, Size K, const void *da, const void *n, const void *scale, const void *gain, void *dq);
    void (*adam)(Size n, void *p, const void *g, void *m, void *v, const double *settings);
    void (*average)(Size n, void *mean, const void *p, double share);
    double (*cross_entropy)(Size N, Size V, void *logits, const int32_t *targets, double scale);
} Kernels;

/* Single and double precision. */
extern const Kernels kernels_baseline[2], kernels_avx2[2], kernels_avx512[2];

#endif
