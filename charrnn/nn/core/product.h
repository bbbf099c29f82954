/* Matrix products with packed weights.

   A matrix W (K, N) is packed once per update or session, in panels of PANEL columns: panel p holds row after row of
   columns p * PANEL .. and is padded with zeros. A product then reads memory in order, and needs no packing of its own:
   with the few rows of a time step, a BLAS spends up to half its time on that.

   Each number of the result is a sum over k in ascending order, whatever the number of rows. So a row's result does not
   depend on the rows beside it, nor on how processes or threads share them. */

/* W (K, N); or (N, K), of which the transposed is packed, a few lines of the cache at a time. */
static void NAME(pack)(Size K, Size N, const REAL *W, int transposed, REAL *packed)
{
    for (Size first = 0; first < N; first += PANEL, packed += K * PANEL) {
        const Size width = N - first < PANEL ? N - first : PANEL;
        if (width < PANEL)
            memset(packed, 0, K * PANEL * sizeof(REAL));
        if (!transposed)
            for (Size k = 0; k < K; k++)
                memcpy(packed + k * PANEL, W + k * N + first, width * sizeof(REAL));
        else
            for (Size begin = 0; begin < K; begin += LINE)
                for (Size j = 0; j < width; j++)
                    for (Size k = begin; k < K && k < begin + LINE; k++)
                        packed[k * PANEL + j] = W[(first + j) * K + k];
    }
}

/* Compute one block of the result: `rows` rows, which is a constant wherever this is inlined, and one panel. */
static inline __attribute__((always_inline)) void NAME(tile)(
    const Size rows, Size K, const REAL *restrict x, const REAL *restrict panel, REAL *restrict out, Size N, Size width,
    int add)
{
    Vector sum[ROWS][2];
    for (Size m = 0; m < rows; m++)
        sum[m][0] = sum[m][1] = (Vector){0};
    /* The result is needed only at the end, and its rows lie far apart: fetch them meanwhile, and the panel 4 KB ahead. */
    for (Size m = 0; m < rows; m++)
        for (Size j = 0; j < PANEL; j += LINE)
            __builtin_prefetch(out + m * N + j, 1);
    for (Size k = 0; k < K; k++) {
        for (Size j = 0; j < PANEL; j += LINE)
            __builtin_prefetch((const char *)(panel + k * PANEL + j) + 4096);
        const Vector left = *(const Vector *)(panel + k * PANEL), right = *(const Vector *)(panel + k * PANEL + LANES);
        UNROLL
        for (Size m = 0; m < rows; m++) {
            const REAL a = x[m * K + k];
            sum[m][0] += a * left;
            sum[m][1] += a * right;
        }
    }
    for (Size m = 0; m < rows; m++, out += N) {
        REAL edge[PANEL]; /* the last panel may reach beyond the row */
        REAL *to = width == PANEL ? out : edge;
        if (add && to == edge)
            memcpy(edge, out, width * sizeof(REAL));
        if (add) {
            sum[m][0] += *(Vector *)to;
            sum[m][1] += *(Vector *)(to + LANES);
        }
        *(Vector *)to = sum[m][0];
        *(Vector *)(to + LANES) = sum[m][1];
        if (to == edge)
            memcpy(out, edge, width * sizeof(REAL));
    }
}

/* One row and four panels: one panel alone would wait for its own additions. */
static void NAME(row_of_panels)(Size K, const REAL *restrict x, const REAL *restrict panels, REAL *restrict out, int add)
{
    Vector sum[8];
    for (int v = 0; v < 8; v++)
        sum[v] = (Vector){0};
    for (Size k = 0; k < K; k++) {
        const REAL a = x[k];
        for (int v = 0; v < 8; v++)
            sum[v] += a * *(const Vector *)(panels + (v / 2 * K + k) * PANEL + v % 2 * LANES);
    }
    for (int v = 0; v < 8; v++) {
        Vector *to = (Vector *)(out + v * LANES);
        if (add)
            sum[v] += *to;
        *to = sum[v];
    }
}

static void NAME(block)(
    Size rows, Size K, const REAL *x, const REAL *panel, REAL *out, Size N, Size width, int add)
{
    switch (rows) {
#define CASE(n) case n: NAME(tile)(n, K, x, panel, out, N, width, add); break;
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if ROWS > 6
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
#undef CASE
    }
}

/* out = x W, or out += x W. x (M, K) and out (M, N), both contiguous.

   Successive time steps t take the panels in turn from the first and from the last: of weights that are larger than the
   processor's cache, those used last are still in it. */
static void NAME(product)(Size M, Size K, Size N, const REAL *x, const REAL *packed, REAL *out, int add, Size t)
{
    const Size blocks = (M + ROWS - 1) / ROWS, panels = (N + PANEL - 1) / PANEL;
    const Size together = M == 1 ? 4 : 1, groups = (panels + together - 1) / together;
    for (Size n = 0; n < groups; n++) {
        const Size first = (t % 2 ? groups - 1 - n : n) * together;
        if (together > 1 && (first + together) * PANEL <= N) {
            NAME(row_of_panels)(K, x, packed + first * K * PANEL, out + first * PANEL, add);
            continue;
        }
        for (Size p = first; p < first + together && p < panels; p++) {
            const Size width = N - p * PANEL < PANEL ? N - p * PANEL : PANEL;
            for (Size b = 0; b < blocks; b++) {
                const Size from = M * b / blocks, to = M * (b + 1) / blocks;
                NAME(block)(to - from, K, x + from * K, packed + p * K * PANEL, out + from * N + p * PANEL, N, width, add);
            }
        }
    }
}
