/* A whole net that reads without learning: embedding, layers and readout in one call, step by step in cache. */

/* Rows that the readout takes at once: the outputs of a step with fewer wait for those of the next. */
#undef READOUT_ROWS
#define READOUT_ROWS 48

/* Memory for one step of all layers. */
typedef struct {
    REAL *a, *q, *row, *scale, *from_x, *from_h, *m;
} NAME(Buffers);

static int NAME(allocate)(NAME(Buffers) *buffers, const Net *net, Size B)
{
    const Size H = net->H, BH = B * H, wide = 4 * BH;
    REAL *memory = malloc((2 * wide + 3 * BH + 4 * H + B + 1) * sizeof(REAL)), *from_x = memory + 2 * wide;
    REAL *row = from_x + 3 * BH;
    *buffers = (NAME(Buffers)){memory, memory + wide, row, row + 4 * H, from_x, from_x + BH, from_x + 2 * BH};
    return memory != NULL;
}

/* Copy the row of each id from a table of rows of K numbers. */
static void NAME(rows_of)(Size B, Size K, const int32_t *ids, const REAL *table, REAL *out)
{
    for (Size b = 0; b < B; b++)
        memcpy(out + b * K, table + ids[b] * K, K * sizeof(REAL));
}

/* Write x_t W_xh + b_h of a layer to `a`, with the sigmoid gates halved: for ids, rows of a table. */
static void NAME(project)(
    const Net *net, const Layer *layer, Size t, Size B, const int32_t *ids, const REAL *x, REAL *a)
{
    const Size K = net->G * net->H;
    if (ids) {
        NAME(rows_of)(B, K, ids, layer->inputs, a);
        return;
    }
    NAME(product)(B, net->H, K, x, layer->inputs, a, 0, t);
    const REAL *bias = layer->bias, *gain = layer->gain_x;
    for (Size b = 0; b < B; b++, a += K) {
        if (gain) {
            NAME(normalise)(K, a);
#pragma omp simd
            for (Size k = 0; k < K; k++)
                a[k] *= gain[k];
        }
#pragma omp simd
        for (Size k = 0; k < K; k++)
            a[k] += bias[k];
    }
}

/* Read one id of each batch row; the state (L, S, B, H) is overwritten. */
static void NAME(step)(
    const Net *net, Size t, Size B, const int32_t *ids, const unsigned char *keep, REAL *state, const NAME(Buffers) *to)
{
    const Size H = net->H, BH = B * H;
    REAL *x = NULL;
    for (Size l = 0; l < net->L; l++, state += net->S * BH) {
        const Layer *layer = net->layers + l;
        REAL *h = state, *c = state + BH;
        NAME(project)(net, layer, t, B, l ? NULL : ids, x, to->a);
        for (Size s = 0; s < net->S; s++)
            NAME(mask_rows)(B, H, keep, state + s * BH);
        switch (net->cell) {
        case RNN:
            NAME(rnn_step)(t, B, H, layer->W_hh, to->a, h);
            break;
        case LSTM:
            NAME(lstm_step)(t, B, H, layer->W_hh, to->a, h, c, to->row, 0);
            break;
        case GRU:
            NAME(gru_step)(t, B, H, layer->W_hh, layer->b_hn, to->q, to->a, h, to->row, 0);
            break;
        case LNLSTM:
            NAME(lnlstm_step)(t, B, H, h, layer->W_hh, layer->gain_h, layer->gain_c, layer->b_c, to->a, h, c, to->q,
                to->scale, to->row, to->scale + B, to->row + H, 0);
            break;
        case LNMLSTM:
            if (l)
                NAME(product)(B, H, H, x, layer->inputs_m, to->from_x, 0, t);
            else
                NAME(rows_of)(B, H, ids, layer->inputs_m, to->from_x);
            NAME(lnmlstm_factors)(t, B, H, layer->W_hm, h, to->from_x, to->from_h, to->m);
            NAME(lnlstm_step)(t, B, H, to->m, layer->W_hh, layer->gain_h, layer->gain_c, layer->b_c, to->a, h, c, to->q,
                to->scale, to->row, to->scale + B, to->row + H, 0);
        }
        x = h;
    }
}

/* logits (N, V) = h (N, H) W_hy + b_y; with a tied embedding, h W_he first, into e (N, E). */
static void NAME(readout)(const Net *net, Size N, const REAL *h, REAL *e, REAL *logits)
{
    const REAL *b_y = net->b_y;
    Size width = net->H;
    if (net->W_he) {
        NAME(product)(N, net->H, net->E, h, net->W_he, e, 0, 0);
        h = e;
        width = net->E;
    }
    NAME(product)(N, width, net->V, h, net->W_hy, logits, 0, 0);
    for (Size n = 0; n < N; n++, logits += net->V)
        for (Size v = 0; v < net->V; v++)
            logits[v] += b_y[v];
}

/* Return log p(target) of one row of logits, in nats, and whether the target is the most likely symbol. */
static REAL NAME(log_prob)(Size V, const REAL *restrict z, Size target, unsigned char *correct)
{
    const REAL most = NAME(largest)(V, z);
    REAL total = 0;
    *correct = z[target] == most;
    for (Size v = 0; *correct && v < target; v++)
        *correct = z[v] != most;
#pragma omp simd reduction(+ : total)
    for (Size v = 0; v < V; v++)
        total += NAME(exp_of)(z[v] - most);
    return z[target] - most - NAME(log_of)(total);
}

/* Read a window (T, B), and score its targets unless they are NULL; return 0 if there is no memory. The last layer's
   outputs (T, B, H) are written unless `to` is NULL. */
static int NAME(read_window)(
    const Net *net, Size T, Size B, const int32_t *ids, const unsigned char *keep, REAL *state, const int32_t *targets,
    REAL *log_probs, unsigned char *correct, REAL *to)
{
    const Size H = net->H, V = net->V, rows = targets ? (B < READOUT_ROWS ? READOUT_ROWS : B) : 0;
    NAME(Buffers) buffers;
    const int allocated = NAME(allocate)(&buffers, net, B);
    REAL *outputs = malloc(rows * (H + net->E + V) * sizeof(REAL) + 1), *e = outputs + rows * H, *logits = e + rows * net->E;
    if (allocated && outputs) {
        const REAL *last = state + (net->L - 1) * net->S * B * H;
        for (Size t = 0, waiting = 0; t < T; t++) {
            NAME(step)(net, t, B, ids + t * B, keep ? keep + t * B : NULL, state, &buffers);
            if (to)
                memcpy(to + t * B * H, last, B * H * sizeof(REAL));
            if (!targets)
                continue;
            memcpy(outputs + waiting * H, last, B * H * sizeof(REAL));
            waiting += B;
            if (waiting + B <= rows && t + 1 < T)
                continue;
            NAME(readout)(net, waiting, outputs, e, logits);
            for (Size n = 0, at = (t + 1) * B - waiting; n < waiting; n++, at++)
                log_probs[at] = NAME(log_prob)(V, logits + n * V, targets[at], correct + at);
            waiting = 0;
        }
    }
    free(outputs);
    free(buffers.a);
    return allocated && outputs;
}

/* Read one id of each batch row, and write the logits (B, V) of the next. */
static int NAME(step_logits)(const Net *net, Size B, const int32_t *ids, REAL *state, REAL *logits)
{
    NAME(Buffers) buffers;
    const int allocated = NAME(allocate)(&buffers, net, B);
    REAL *e = malloc(B * net->E * sizeof(REAL) + 1);
    if (allocated && e) {
        NAME(step)(net, 0, B, ids, NULL, state, &buffers);
        NAME(readout)(net, B, state + (net->L - 1) * net->S * B * net->H, e, logits);
    }
    free(e);
    free(buffers.a);
    return allocated && e;
}
