/* What training computes outside the time loop: the loss, and the sum of the rows that belong to each id. */

/* total[ids[n]] += rows[n]; rows (N, K) */
static void NAME(add_rows)(long N, long K, const int32_t *ids, const REAL *rows, REAL *total)
{
    for (long n = 0; n < N; n++) {
        const REAL *restrict row = rows + n * K;
        REAL *restrict to = total + ids[n] * K;
        for (long k = 0; k < K; k++)
            to[k] += row[k];
    }
}

/* Replace logits (N, V) by scale * (softmax - one-hot target); return the sum of -log p(target), in nats. */
static double NAME(cross_entropy)(long N, long V, REAL *logits, const int32_t *targets, double scale)
{
    double loss = 0;
    for (long n = 0; n < N; n++, logits += V) {
        REAL *restrict z = logits, most = z[0], total = 0;
#pragma omp simd reduction(max : most)
        for (long v = 0; v < V; v++)
            most = z[v] > most ? z[v] : most;
        const REAL picked = z[targets[n]] - most;
#pragma omp simd reduction(+ : total)
        for (long v = 0; v < V; v++) {
            z[v] = NAME(exp_of)(z[v] - most);
            total += z[v];
        }
        loss += NAME(log_of)(total) - picked;
        const REAL factor = (REAL)scale / total;
        for (long v = 0; v < V; v++)
            z[v] *= factor;
        z[targets[n]] -= (REAL)scale;
    }
    return loss;
}
