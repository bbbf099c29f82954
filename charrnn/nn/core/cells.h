/* The cells: one time step, and a window of steps forwards and backwards. The equations are in the Python file of each
   cell, `charrnn/nn/cells/`, which computes the same with NumPy; the names and shapes of arrays are the same too.

   `t` is the number of the step in the window. A step works in place: before it, h and c are the state that it starts
   from; after it, they are the next state. `a` is x_t W_xh + b_h, with the columns of sigmoid gates halved, and becomes
   the gates. */

static void NAME(tanh_row)(Size n, REAL *restrict out, const REAL *restrict a)
{
#pragma omp simd
    for (Size k = 0; k < n; k++)
        out[k] = NAME(tanh_of)(a[k]);
}

static void NAME(rnn_step)(Size t, Size B, Size H, const REAL *W_hh, REAL *a, REAL *h)
{
    NAME(product)(B, H, H, h, W_hh, a, 1, t);
    NAME(tanh_row)(B * H, h, a);
}

static void NAME(lstm_row)(Size H, REAL *restrict i, REAL *restrict c, REAL *restrict tanh_c, REAL *restrict h)
{
    REAL *restrict f = i + H, *restrict g = i + 2 * H, *restrict o = i + 3 * H;
#pragma omp simd
    for (Size k = 0; k < H; k++) {
        i[k] = NAME(sigmoid_of_half)(i[k]);
        f[k] = NAME(sigmoid_of_half)(f[k]);
        g[k] = NAME(tanh_of)(g[k]);
        o[k] = NAME(sigmoid_of_half)(o[k]);
        c[k] = f[k] * c[k] + i[k] * g[k];
        tanh_c[k] = NAME(tanh_of)(c[k]);
        h[k] = o[k] * tanh_c[k];
    }
}

/* `saved` is 1 if tanh_c has B rows, and 0 if one row serves all, because no backward pass follows. */
static void NAME(lstm_step)(
    Size t, Size B, Size H, const REAL *W_hh, REAL *a, REAL *h, REAL *c, REAL *tanh_c, int saved)
{
    NAME(product)(B, H, 4 * H, h, W_hh, a, 1, t);
    for (Size b = 0; b < B; b++)
        NAME(lstm_row)(H, a + b * 4 * H, c + b * H, tanh_c + saved * b * H, h + b * H);
}

static void NAME(gru_row)(
    Size H, REAL *restrict r, const REAL *restrict q, const REAL *restrict b_hn, REAL *restrict q_n, REAL *restrict h)
{
    REAL *restrict z = r + H, *restrict n = r + 2 * H;
#pragma omp simd
    for (Size k = 0; k < H; k++) {
        r[k] = NAME(sigmoid_of_half)(r[k] + q[k]);
        z[k] = NAME(sigmoid_of_half)(z[k] + q[H + k]);
        q_n[k] = q[2 * H + k] + b_hn[k];
        n[k] = NAME(tanh_of)(n[k] + r[k] * q_n[k]);
        h[k] = n[k] + z[k] * (h[k] - n[k]);
    }
}

/* q (B, 3H) is memory to work in; `saved` is as in lstm_step, for q_n. */
static void NAME(gru_step)(
    Size t, Size B, Size H, const REAL *W_hh, const REAL *b_hn, REAL *q, REAL *a, REAL *h, REAL *q_n, int saved)
{
    NAME(product)(B, H, 3 * H, h, W_hh, q, 0, t);
    for (Size b = 0; b < B; b++)
        NAME(gru_row)(H, a + b * 3 * H, q + b * 3 * H, b_hn, q_n + saved * b * H, h + b * H);
}

static inline REAL NAME(dot)(Size n, const REAL *restrict u, const REAL *restrict v)
{
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Size k = 0; k < n; k++)
        sum += u[k] * v[k];
    return sum;
}

/* Divide a row of mean zero by its standard deviation, and return the factor. */
static REAL NAME(normalise)(Size n, REAL *v)
{
    const REAL scale = 1 / NAME(root)(NAME(dot)(n, v, v) / n + EPSILON);
#pragma omp simd
    for (Size k = 0; k < n; k++)
        v[k] *= scale;
    return scale;
}

static void NAME(lnlstm_gates)(
    Size H, REAL *restrict i, const REAL *restrict n_h, const REAL *restrict gain_h, REAL *restrict c)
{
    REAL *restrict f = i + H, *restrict g = i + 2 * H, *restrict o = i + 3 * H;
#pragma omp simd
    for (Size k = 0; k < H; k++) {
        i[k] = NAME(sigmoid_of_half)(i[k] + n_h[k] * gain_h[k]);
        f[k] = NAME(sigmoid_of_half)(f[k] + n_h[H + k] * gain_h[H + k]);
        g[k] = NAME(tanh_of)(g[k] + n_h[2 * H + k] * gain_h[2 * H + k]);
        o[k] = NAME(sigmoid_of_half)(o[k] + n_h[3 * H + k] * gain_h[3 * H + k]);
        c[k] = f[k] * c[k] + i[k] * g[k];
    }
}

static void NAME(lnlstm_output)(
    Size H, const REAL *restrict o, const REAL *restrict n_c, const REAL *restrict gain_c, const REAL *restrict b_c,
    REAL *restrict tanh_c, REAL *restrict h)
{
#pragma omp simd
    for (Size k = 0; k < H; k++) {
        tanh_c[k] = NAME(tanh_of)(n_c[k] * gain_c[k] + b_c[k]);
        h[k] = o[k] * tanh_c[k];
    }
}

/* from (B, H) is what W_hh multiplies: h, or m of lnmlstm. n_h (B, 4H) and scale_h (B); `saved` is as in lstm_step, for
   n_c, scale_c and tanh_c. */
static void NAME(lnlstm_step)(
    Size t, Size B, Size H, const REAL *from, const REAL *W_hh, const REAL *gain_h, const REAL *gain_c, const REAL *b_c,
    REAL *a, REAL *h, REAL *c, REAL *n_h, REAL *scale_h, REAL *n_c, REAL *scale_c, REAL *tanh_c, int saved)
{
    NAME(product)(B, H, 4 * H, from, W_hh, n_h, 0, t);
    for (Size b = 0; b < B; b++, a += 4 * H, h += H, c += H, n_h += 4 * H) {
        *scale_h++ = NAME(normalise)(4 * H, n_h);
        NAME(lnlstm_gates)(H, a, n_h, gain_h, c);
        const REAL mean = NAME(sum)(H, c) / H;
#pragma omp simd
        for (Size k = 0; k < H; k++)
            n_c[k] = c[k] - mean;
        *scale_c = NAME(normalise)(H, n_c);
        NAME(lnlstm_output)(H, a + 3 * H, n_c, gain_c, b_c, tanh_c, h);
        n_c += saved * H;
        scale_c += saved;
        tanh_c += saved * H;
    }
}

static void NAME(multiply)(Size n, const REAL *restrict u, const REAL *restrict v, REAL *restrict out)
{
#pragma omp simd
    for (Size k = 0; k < n; k++)
        out[k] = u[k] * v[k];
}

/* m = from_x * (h W_hm), which lnmlstm reads in place of h. All are (B, H). */
static void NAME(lnmlstm_factors)(
    Size t, Size B, Size H, const REAL *W_hm, const REAL *h, const REAL *from_x, REAL *from_h, REAL *m)
{
    NAME(product)(B, H, H, h, W_hm, from_h, 0, t);
    NAME(multiply)(B * H, from_x, from_h, m);
}

/* Set the rows to zero where `keep` is 0; it may be NULL. */
static void NAME(mask_rows)(Size B, Size H, const unsigned char *keep, REAL *rows)
{
    if (keep)
        for (Size b = 0; b < B; b++)
            if (!keep[b])
                memset(rows + b * H, 0, H * sizeof(REAL));
}

/* Copy the state before step t to where the step will overwrite it; it starts from zero where `keep` is 0. */
static void NAME(begin_step)(Size B, Size H, const unsigned char *keep, REAL *state)
{
    memcpy(state + B * H, state, B * H * sizeof(REAL));
    NAME(mask_rows)(B, H, keep, state + B * H);
}

#undef STEPS_FORWARD
#undef STEPS_BACKWARD
#undef KEEP
#define STEPS_FORWARD(G)                                                                                               \
    const Size T = w->T, B = w->B, H = w->H, BH = B * H, BG = (G)*BH;                                                  \
    for (Size t = 0; t < T; t++)
#define STEPS_BACKWARD(G)                                                                                              \
    const Size T = w->T, B = w->B, H = w->H, BH = B * H, BG = (G)*BH;                                                  \
    for (Size t = T - 1; t >= 0; t--)
#define KEEP (w->keep ? w->keep + t * B : NULL)

static void NAME(rnn_forward)(const Window *w)
{
    const REAL *W_hh = w->array[0];
    REAL *a = w->array[1], *h = w->array[2];
    STEPS_FORWARD(1) {
        NAME(begin_step)(B, H, KEEP, h + t * BH);
        NAME(rnn_step)(t, B, H, W_hh, a + t * BG, h + (t + 1) * BH);
    }
}

static void NAME(rnn_row_back)(
    Size n, const REAL *restrict dh, const REAL *restrict h, const REAL *restrict dh_next, REAL *restrict da)
{
#pragma omp simd
    for (Size k = 0; k < n; k++)
        da[k] = (dh[k] + dh_next[k]) * (1 - h[k] * h[k]);
}

static void NAME(rnn_backward)(const Window *w)
{
    const REAL *W_hh_T = w->array[0], *dh = w->array[1], *h = w->array[2];
    REAL *dh_next = w->array[3], *da = w->array[4];
    STEPS_BACKWARD(1) {
        NAME(rnn_row_back)(BH, dh + t * BH, h + (t + 1) * BH, dh_next, da + t * BG);
        NAME(product)(B, H, H, da + t * BG, W_hh_T, dh_next, 0, t);
        NAME(mask_rows)(B, H, KEEP, dh_next);
    }
}

static void NAME(lstm_forward)(const Window *w)
{
    const REAL *W_hh = w->array[0];
    REAL *gates = w->array[1], *h = w->array[2], *c = w->array[3], *tanh_c = w->array[4];
    STEPS_FORWARD(4) {
        NAME(begin_step)(B, H, KEEP, h + t * BH);
        NAME(mask_rows)(B, H, KEEP, c + t * BH); /* the backward pass reads it */
        NAME(begin_step)(B, H, NULL, c + t * BH);
        NAME(lstm_step)(t, B, H, W_hh, gates + t * BG, h + (t + 1) * BH, c + (t + 1) * BH, tanh_c + t * BH, 1);
    }
}

/* dc (H) includes step t's own share, and becomes the gradient of c[t]; dh is the whole gradient of h[t + 1]. */
static void NAME(lstm_gates_back)(
    Size H, const REAL *restrict gates, const REAL *restrict c_prev, const REAL *restrict tanh_c,
    const REAL *restrict dh, REAL *restrict dc, REAL *restrict da)
{
#pragma omp simd
    for (Size k = 0; k < H; k++) {
        const REAL i = gates[k], f = gates[H + k], g = gates[2 * H + k], o = gates[3 * H + k];
        da[k] = dc[k] * g * (i - i * i);
        da[H + k] = dc[k] * c_prev[k] * (f - f * f);
        da[2 * H + k] = dc[k] * i * (1 - g * g);
        da[3 * H + k] = dh[k] * tanh_c[k] * (o - o * o);
        dc[k] *= f;
    }
}

static void NAME(lstm_output_back)(
    Size H, const REAL *restrict o, const REAL *restrict tanh_c, const REAL *restrict dh, REAL *restrict dh_next,
    REAL *restrict dc)
{
#pragma omp simd
    for (Size k = 0; k < H; k++) {
        dh_next[k] += dh[k];
        dc[k] += dh_next[k] * o[k] * (1 - tanh_c[k] * tanh_c[k]);
    }
}

static void NAME(lstm_backward)(const Window *w)
{
    const REAL *W_hh_T = w->array[0], *dh = w->array[1], *gates = w->array[2], *c = w->array[3], *tanh_c = w->array[4];
    REAL *dh_next = w->array[5], *dc = w->array[6], *da = w->array[7];
    STEPS_BACKWARD(4) {
        for (Size b = 0; b < B; b++) {
            const Size at = t * BH + b * H, at_gates = t * BG + b * 4 * H, own = b * H;
            NAME(lstm_output_back)(H, gates + at_gates + 3 * H, tanh_c + at, dh + at, dh_next + own, dc + own);
            NAME(lstm_gates_back)(H, gates + at_gates, c + at, tanh_c + at, dh_next + own, dc + own, da + at_gates);
        }
        NAME(product)(B, 4 * H, H, da + t * BG, W_hh_T, dh_next, 0, t);
        NAME(mask_rows)(B, H, KEEP, dh_next);
        NAME(mask_rows)(B, H, KEEP, dc);
    }
}

static void NAME(gru_forward)(const Window *w)
{
    const REAL *W_hh = w->array[0], *b_hn = w->array[1];
    REAL *gates = w->array[2], *h = w->array[3], *q_n = w->array[4], *q = w->array[5];
    STEPS_FORWARD(3) {
        NAME(begin_step)(B, H, KEEP, h + t * BH);
        NAME(gru_step)(t, B, H, W_hh, b_hn, q, gates + t * BG, h + (t + 1) * BH, q_n + t * BH, 1);
    }
}

static void NAME(gru_row_back)(
    Size H, const REAL *restrict gates, const REAL *restrict h_prev, const REAL *restrict q_n, const REAL *restrict dh,
    const REAL *restrict dh_next, REAL *restrict dq, REAL *restrict da_n, REAL *restrict direct)
{
#pragma omp simd
    for (Size k = 0; k < H; k++) {
        const REAL r = gates[k], z = gates[H + k], n = gates[2 * H + k], total = dh[k] + dh_next[k];
        direct[k] = total * z;
        da_n[k] = (total - direct[k]) * (1 - n * n);
        dq[H + k] = (h_prev[k] - n) * (direct[k] - direct[k] * z);
        dq[2 * H + k] = da_n[k] * r;
        dq[k] = dq[2 * H + k] * q_n[k] * (1 - r);
    }
}

static void NAME(gru_backward)(const Window *w)
{
    const REAL *W_hh_T = w->array[0], *dh = w->array[1], *gates = w->array[2], *h_prev = w->array[3];
    const REAL *q_n = w->array[4];
    REAL *dh_next = w->array[5], *dq = w->array[6], *da_n = w->array[7], *direct = w->array[8];
    STEPS_BACKWARD(3) {
        for (Size b = 0; b < B; b++) {
            const Size at = t * BH + b * H, at_gates = t * BG + b * 3 * H, own = b * H;
            NAME(gru_row_back)(H, gates + at_gates, h_prev + at, q_n + at, dh + at, dh_next + own, dq + at_gates,
                da_n + at, direct + own);
        }
        memcpy(dh_next, direct, BH * sizeof(REAL));
        NAME(product)(B, 3 * H, H, dq + t * BG, W_hh_T, dh_next, 1, t);
        NAME(mask_rows)(B, H, KEEP, dh_next);
    }
}

static void NAME(lnlstm_forward)(const Window *w)
{
    const REAL *W_hh = w->array[0], *gain_h = w->array[1], *gain_c = w->array[2], *b_c = w->array[3];
    REAL *gates = w->array[4], *h = w->array[5], *c = w->array[6], *n_h = w->array[7], *scale_h = w->array[8];
    REAL *n_c = w->array[9], *scale_c = w->array[10], *tanh_c = w->array[11];
    STEPS_FORWARD(4) {
        NAME(begin_step)(B, H, KEEP, h + t * BH);
        NAME(mask_rows)(B, H, KEEP, c + t * BH); /* the backward pass reads it */
        NAME(begin_step)(B, H, NULL, c + t * BH);
        NAME(lnlstm_step)(t, B, H, h + (t + 1) * BH, W_hh, gain_h, gain_c, b_c, gates + t * BG, h + (t + 1) * BH,
            c + (t + 1) * BH, n_h + t * BG, scale_h + t * B, n_c + t * BH, scale_c + t * B, tanh_c + t * BH, 1);
    }
}

static void NAME(lnmlstm_forward)(const Window *w)
{
    const REAL *W_hh = w->array[0], *W_hm = w->array[1], *gain_h = w->array[2], *gain_c = w->array[3];
    const REAL *b_c = w->array[4];
    REAL *gates = w->array[5], *from_x = w->array[6], *h = w->array[7], *c = w->array[8], *from_h = w->array[9];
    REAL *m = w->array[10], *n_h = w->array[11], *scale_h = w->array[12], *n_c = w->array[13], *scale_c = w->array[14];
    REAL *tanh_c = w->array[15];
    STEPS_FORWARD(4) {
        NAME(begin_step)(B, H, KEEP, h + t * BH);
        NAME(mask_rows)(B, H, KEEP, c + t * BH); /* the backward pass reads it */
        NAME(begin_step)(B, H, NULL, c + t * BH);
        NAME(lnmlstm_factors)(t, B, H, W_hm, h + (t + 1) * BH, from_x + t * BH, from_h + t * BH, m + t * BH);
        NAME(lnlstm_step)(t, B, H, m + t * BH, W_hh, gain_h, gain_c, b_c, gates + t * BG, h + (t + 1) * BH,
            c + (t + 1) * BH, n_h + t * BG, scale_h + t * B, n_c + t * BH, scale_c + t * B, tanh_c + t * BH, 1);
    }
}

/* Subtract n * mean(d * n) from d. */
static void NAME(remove_component)(Size length, REAL *restrict d, const REAL *restrict n)
{
    const REAL mean = NAME(dot)(length, d, n) / length;
#pragma omp simd
    for (Size k = 0; k < length; k++)
        d[k] -= n[k] * mean;
}

/* Write the gradient of a row before it was normalised, without the factor, from da, that of gain * n + bias. */
static void NAME(normalise_back)(
    Size length, const REAL *restrict da, const REAL *n, const REAL *restrict gain, REAL *restrict dq)
{
#pragma omp simd
    for (Size k = 0; k < length; k++)
        dq[k] = da[k] * gain[k];
    NAME(remove_component)(length, dq, n);
}

/* dh is the gradient of h[t + 1]; d (H) is memory to work in. */
static void NAME(lnlstm_output_back)(
    Size H, const REAL *restrict o, const REAL *restrict tanh_c, const REAL *restrict n_c, REAL scale_c,
    const REAL *restrict gain_c, const REAL *restrict dh, REAL *restrict da_c, REAL *restrict d, REAL *restrict dc)
{
#pragma omp simd
    for (Size k = 0; k < H; k++) {
        da_c[k] = dh[k] * o[k] * (1 - tanh_c[k] * tanh_c[k]);
        d[k] = da_c[k] * gain_c[k];
    }
    NAME(remove_component)(H, d, n_c);
    const REAL mean = NAME(sum)(H, d) / H;
#pragma omp simd
    for (Size k = 0; k < H; k++)
        dc[k] += scale_c * (d[k] - mean);
}

/* One step backwards, whose own arrays are given. dh_next (B, H) becomes the gradient of what W_hh multiplies; d (H) is
   memory to work in. */
static void NAME(lnlstm_step_back)(
    Size t, Size B, Size H, const REAL *W_hh_T, const REAL *dh, const REAL *gain_h, const REAL *gain_c,
    const REAL *gates, const REAL *c_prev, const REAL *n_h, const REAL *scale_h, const REAL *n_c, const REAL *scale_c,
    const REAL *tanh_c, REAL *dh_next, REAL *dc, REAL *da, REAL *dq, REAL *da_c, REAL *d)
{
    for (Size b = 0; b < B; b++) {
        const Size at = b * H, at_gates = b * 4 * H;
#pragma omp simd
        for (Size k = 0; k < H; k++)
            dh_next[at + k] += dh[at + k];
        NAME(lnlstm_output_back)(H, gates + at_gates + 3 * H, tanh_c + at, n_c + at, scale_c[b], gain_c, dh_next + at,
            da_c + at, d, dc + at);
        NAME(lstm_gates_back)(H, gates + at_gates, c_prev + at, tanh_c + at, dh_next + at, dc + at, da + at_gates);
        NAME(normalise_back)(4 * H, da + at_gates, n_h + at_gates, gain_h, dq + at_gates);
    }
    NAME(product)(B, 4 * H, H, dq, W_hh_T, dh_next, 0, t);
    for (Size b = 0; b < B; b++)
#pragma omp simd
        for (Size k = 0; k < H; k++)
            dh_next[b * H + k] *= scale_h[b];
}

static void NAME(lnlstm_backward)(const Window *w)
{
    const REAL *W_hh_T = w->array[0], *dh = w->array[1], *gain_h = w->array[2], *gain_c = w->array[3];
    const REAL *gates = w->array[4], *c = w->array[5], *n_h = w->array[6], *scale_h = w->array[7];
    const REAL *n_c = w->array[8], *scale_c = w->array[9], *tanh_c = w->array[10];
    REAL *dh_next = w->array[11], *dc = w->array[12], *da = w->array[13], *dq = w->array[14], *da_c = w->array[15];
    REAL *d = w->array[16];
    STEPS_BACKWARD(4) {
        NAME(lnlstm_step_back)(t, B, H, W_hh_T, dh + t * BH, gain_h, gain_c, gates + t * BG, c + t * BH, n_h + t * BG,
            scale_h + t * B, n_c + t * BH, scale_c + t * B, tanh_c + t * BH, dh_next, dc, da + t * BG, dq + t * BG,
            da_c + t * BH, d);
        NAME(mask_rows)(B, H, KEEP, dh_next);
        NAME(mask_rows)(B, H, KEEP, dc);
    }
}

static void NAME(lnmlstm_backward)(const Window *w)
{
    const REAL *W_hh_T = w->array[0], *dh = w->array[1], *W_hm_T = w->array[2], *gain_h = w->array[3];
    const REAL *gain_c = w->array[4], *gates = w->array[5], *c = w->array[6], *from_x = w->array[7];
    const REAL *from_h = w->array[8], *n_h = w->array[9], *scale_h = w->array[10], *n_c = w->array[11];
    const REAL *scale_c = w->array[12], *tanh_c = w->array[13];
    REAL *dh_next = w->array[14], *dc = w->array[15], *da = w->array[16], *dq = w->array[17], *da_c = w->array[18];
    REAL *d = w->array[19], *dfrom_x = w->array[20], *dfrom_h = w->array[21];
    STEPS_BACKWARD(4) {
        NAME(lnlstm_step_back)(t, B, H, W_hh_T, dh + t * BH, gain_h, gain_c, gates + t * BG, c + t * BH, n_h + t * BG,
            scale_h + t * B, n_c + t * BH, scale_c + t * B, tanh_c + t * BH, dh_next, dc, da + t * BG, dq + t * BG,
            da_c + t * BH, d);
        NAME(multiply)(BH, dh_next, from_h + t * BH, dfrom_x + t * BH);
        NAME(multiply)(BH, dh_next, from_x + t * BH, dfrom_h + t * BH);
        NAME(product)(B, H, H, dfrom_h + t * BH, W_hm_T, dh_next, 0, t);
        NAME(mask_rows)(B, H, KEEP, dh_next);
        NAME(mask_rows)(B, H, KEEP, dc);
    }
}
