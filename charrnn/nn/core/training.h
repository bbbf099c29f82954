/* What training computes outside the time loop: the loss, the sum of the rows that belong to each id, layer
   normalisation of inputs, and the update. */

/* total[ids[n]] += rows[n]; rows (N, K) */
static void NAME(add_rows)(Size N, Size K, const int32_t *ids, const REAL *rows, REAL *total)
{
    for (Size n = 0; n < N; n++) {
        const REAL *restrict row = rows + n * K;
        REAL *restrict to = total + ids[n] * K;
#pragma omp simd
        for (Size k = 0; k < K; k++)
            to[k] += row[k];
    }
}

/* Replace logits (N, V) by scale * (softmax - one-hot target); return the sum of -log p(target), in nats. */
static double NAME(cross_entropy)(Size N, Size V, REAL *logits, const int32_t *targets, double scale)
{
    double loss = 0;
    for (Size n = 0; n < N; n++, logits += V) {
        REAL *restrict z = logits, total = 0;
        const REAL most = NAME(largest)(V, z), picked = z[targets[n]] - most;
#pragma omp simd reduction(+ : total)
        for (Size v = 0; v < V; v++) {
            z[v] = NAME(exp_of)(z[v] - most);
            total += z[v];
        }
        loss += NAME(log_of)(total) - picked;
        const REAL factor = (REAL)scale / total;
#pragma omp simd
        for (Size v = 0; v < V; v++)
            z[v] *= factor;
        z[targets[n]] -= (REAL)scale;
    }
    return loss;
}

/* Normalise rows n (N, K) of mean zero in place, and write n * gain + bias to `out`; scale (N) are the factors. */
static void NAME(normalise_rows)(
    Size N, Size K, REAL *n, REAL *scale, const REAL *gain, const REAL *restrict bias, REAL *restrict out)
{
    for (; N--; n += K, out += K) {
        *scale++ = NAME(normalise)(K, n);
#pragma omp simd
        for (Size k = 0; k < K; k++)
            out[k] = n[k] * gain[k] + bias[k];
    }
}

/* The backward pass: dq (N, K), the gradient of the rows before they were normalised, from da, that of `out`. */
static void NAME(normalise_rows_back)(
    Size N, Size K, const REAL *restrict da, const REAL *n, const REAL *scale, const REAL *restrict gain, REAL *dq)
{
    for (; N--; n += K, da += K, dq += K, scale++) {
        NAME(normalise_back)(K, da, n, gain, dq);
#pragma omp simd
        for (Size k = 0; k < K; k++)
            dq[k] *= *scale;
    }
}

/* The update of Adam; see `optimizers.adam`. rate and root include the corrections of m and of sqrt(v). */
static void NAME(adam)(
    Size n, REAL *restrict p, const REAL *restrict g, REAL *restrict m, REAL *restrict v, const double *settings)
{
    const REAL beta1 = settings[0], beta2 = settings[1], rate = settings[2], root = settings[3];
#pragma omp simd
    for (Size k = 0; k < n; k++) {
        m[k] = beta1 * m[k] + (1 - beta1) * g[k];
        v[k] = beta2 * v[k] + (1 - beta2) * g[k] * g[k];
        p[k] -= rate * m[k] / (NAME(root)(v[k]) / root + (REAL)1e-8);
    }
}

/* mean = share mean + (1 - share) p */
static void NAME(average)(Size n, REAL *restrict mean, const REAL *restrict p, double share)
{
    const REAL past = share, present = 1 - share;
#pragma omp simd
    for (Size k = 0; k < n; k++)
        mean[k] = past * mean[k] + present * p[k];
}
