/* Sampling: ids drawn and read by a whole net, one after another, in one call. */

/* Write the logits in double, with the penalty for the last ids and without the id that is never drawn. */
static void NAME(possible)(const Filters *filters, const Samples *samples, Size b, Size t, double *restrict z)
{
    const Size B = samples->B, V = samples->V, W = samples->W, window = filters->window;
    const REAL *restrict logits = (const REAL *)samples->logits + b * V;
#pragma omp simd
    for (Size v = 0; v < V; v++)
        z[v] = logits[v];
    for (Size back = 1; back <= window; back++) { /* an id that occurs twice gets the same number twice */
        const intptr_t id = back <= t ? samples->ids[(t - back) * B + b] : samples->recent[(b + 1) * W + t - back];
        if (id >= 0 && id < V)
            z[id] = logits[id] - filters->penalty;
    }
    if (filters->never >= 0)
        z[filters->never] = -INFINITY;
}

/* Append the drawn ids to the last ones of a row. */
static void NAME(remember)(const Samples *samples, Size b, Size drawn)
{
    const Size W = samples->W, fresh = drawn < W ? drawn : W;
    intptr_t *recent = samples->recent + b * W;
    memmove(recent, recent + fresh, (W - fresh) * sizeof(*recent));
    for (Size k = 0; k < fresh; k++)
        recent[W - fresh + k] = samples->ids[(drawn - fresh + k) * samples->B + b];
}

/* Draw up to n ids of each sample, and let the net read all but the last; stop at the first step that draws a halting
   id. The net may be NULL if n is 1;
   so may the memory that it has. Return how many steps were drawn; 0 if there is no memory. */
static Size NAME(sample)(const Net *net, const Memory *memory, const Filters *filters, const Samples *samples)
{
    const Size n = samples->n, B = samples->B, V = samples->V, E = net ? net->E : 0;
    NAME(Buffers) buffers = {0};
    const int allocated = !net || NAME(allocate)(&buffers, net, B);
    double *z = malloc(3 * V * sizeof(double));
    REAL *e = malloc(B * E * sizeof(REAL) + 1);
    int32_t *last = malloc(B * sizeof(int32_t));
    Size t = 0;
    for (int halt = !(allocated && z && e && last); !halt;) {
        intptr_t *ids = samples->ids + t * B;
        for (Size b = 0; b < B; b++) {
            unsigned char correct;
            NAME(possible)(filters, samples, b, t, z);
            const Size id = EXPAND(draw, VARIANT, double)(V, z, samples->uniforms[b * n + t], filters, z + V);
            ids[b] = last[b] = (int32_t)id;
            halt |= samples->halting[id];
            if (samples->log_probs)
                ((REAL *)samples->log_probs)[t * B + b]
                    = NAME(log_prob)(V, (const REAL *)samples->logits + b * V, id, &correct);
        }
        halt |= ++t == n;
        if (!halt) {
            REAL *state = samples->state, *h = state + (net->L - 1) * net->S * B * net->H;
            NAME(step)(net, t, B, last, NULL, state, &buffers);
            NAME(readout)(net, B, h, e, samples->logits);
            if (memory && !NAME(recall)(memory, 1, B, V, last, NULL, h, samples->logits, NULL))
                t = 0, halt = 1;
        }
    }
    for (Size b = 0; t && b < B; b++)
        NAME(remember)(samples, b, t);
    free(last);
    free(e);
    free(z);
    free(buffers.a);
    return t;
}
