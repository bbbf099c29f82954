/* One id drawn from a row of logits, as `charrnn/generation/filters.py` and `loop.py` do, in double precision. */

#define WEIGHT_BLOCK 64 /* ids whose weights are summed as one */
#define DIGITS 49 /* low bits of a double; without them, exponent and three binary digits are the number of a bin */
#define BIN_OF_1 (1023 << 3)
#define BIN_OF_LEAST ((1023 - 24) << 3) /* weights below 2^-24 share the last bin */
#define BINS (BIN_OF_1 - BIN_OF_LEAST + 1)
#define FEW 24 /* weights up to which no bins are needed */

/* Replace logits by weights in proportion to the probabilities; the largest is 1. */
static void NAME(weigh)(Size V, double temperature, double *restrict z)
{
    const double most = NAME(largest)(V, z);
#pragma omp simd
    for (Size v = 0; v < V; v++)
        z[v] = NAME(exp_of)((z[v] - most) / temperature);
}

static void NAME(zero_below)(Size V, double least, double *restrict weights)
{
#pragma omp simd
    for (Size v = 0; v < V; v++)
        weights[v] = weights[v] >= least ? weights[v] : 0;
}

/* Copy the weights of at least `least`; return how many. */
static Size NAME(gather)(Size V, const double *restrict weights, double least, double *restrict some)
{
    Size n = 0;
    for (Size v = 0; v < V; v++) {
        some[n] = weights[v];
        n += weights[v] >= least;
    }
    return n;
}

static Size NAME(bin_of)(double weight)
{
    union { double number; int64_t bits; } of = {weight};
    const int64_t bin = (of.bits >> DIGITS) - BIN_OF_LEAST;
    return bin < 0 ? 0 : bin < BINS ? (Size)bin : BINS - 1; /* NaN may be anywhere */
}

/* Return the smallest of the largest weights that are needed for a sum. With `counted`, each adds 1 instead of itself.
   The order of the weights is lost. */
static double NAME(smallest_needed)(Size n, double *some, double needed, int counted)
{
    if (n > FEW) { /* leave only the weights of the bin in which it is */
        double bins[BINS] = {0};
        for (Size k = 0; k < n; k++)
            bins[NAME(bin_of)(some[k])] += counted ? 1 : some[k];
        Size edge = BINS - 1, left = 0;
        for (; edge && bins[edge] < needed; edge--)
            needed -= bins[edge];
        for (Size k = 0; k < n; k++) {
            some[left] = some[k];
            left += NAME(bin_of)(some[k]) == edge;
        }
        n = left;
    }
    while (n > 1) {
        const double a = some[0], b = some[n / 2], c = some[n - 1];
        const double pivot = a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
        double above = 0, equal = 0;
        Size larger = 0, smaller = n; /* where those larger than the pivot end, and those smaller begin */
        for (Size k = 0; k < smaller;) {
            const double weight = some[k];
            if (weight < pivot) {
                some[k] = some[--smaller];
                some[smaller] = weight;
                continue;
            }
            if (weight > pivot) {
                some[k] = some[larger];
                some[larger++] = weight;
                above += counted ? 1 : weight;
            } else
                equal += counted ? 1 : weight;
            k++;
        }
        if (above >= needed)
            n = larger;
        else if (above + equal >= needed || smaller == n)
            return pivot;
        else {
            needed -= above + equal;
            some += smaller;
            n -= smaller;
        }
    }
    return n ? some[0] : 0;
}

/* Return the first id whose running sum of weights exceeds this share of the sum; 0 if weights are NaN. */
static Size NAME(pick)(Size V, const double *weights, double share, double *sums)
{
    double total = 0, before = 0;
    const Size blocks = (V + WEIGHT_BLOCK - 1) / WEIGHT_BLOCK;
    for (Size k = 0; k < blocks; k++) {
        const Size first = k * WEIGHT_BLOCK;
        sums[k] = NAME(sum)(V - first < WEIGHT_BLOCK ? V - first : WEIGHT_BLOCK, weights + first);
        total += sums[k];
    }
    share *= total;
    for (Size k = 0; k < blocks; before += sums[k++])
        if (before + sums[k] > share) {
            Size id = k * WEIGHT_BLOCK, last = id; /* the last with a weight, if rounding leaves none that exceeds */
            const Size end = V - id < WEIGHT_BLOCK ? V : id + WEIGHT_BLOCK;
            for (; id < end; id++) {
                before += weights[id];
                if (before > share)
                    return id;
                last = weights[id] ? id : last;
            }
            return last;
        }
    return 0;
}

/* Draw an id by logits z (V), which are overwritten. work: memory for 2 V numbers. */
static Size NAME(draw)(Size V, double *z, double uniform, const Filters *filters, double *work)
{
    if (filters->temperature == 0) {
        Size best = 0;
        for (Size v = 1; v < V; v++)
            best = z[v] > z[best] ? v : best;
        return best;
    }
    NAME(weigh)(V, filters->temperature, z);
    if (filters->top_k && filters->top_k < V) {
        const Size k = filters->top_k, size = V / (4 * k);
        double least = 0;
        if (size > 1) { /* the k-th largest of all is at least that of the blocks' largest, which few weights reach */
            Size blocks = 0;
            for (Size first = 0; first < V; first += size)
                work[blocks++] = NAME(largest)(V - first < size ? V - first : size, z + first);
            least = NAME(smallest_needed)(blocks, work, (double)k, 1);
        }
        const Size n = NAME(gather)(V, z, least, work);
        NAME(zero_below)(V, NAME(smallest_needed)(n, work, (double)k, 1), z);
    }
    if (filters->top_p < 1) {
        /* All weights below this add up to less than the share that may be dropped. */
        const double total = NAME(sum)(V, z), least = (1 - filters->top_p) / V * total;
        const Size n = NAME(gather)(V, z, least, work);
        NAME(zero_below)(V, NAME(smallest_needed)(n, work, filters->top_p * total, 0), z);
    }
    if (filters->min_p)
        NAME(zero_below)(V, filters->min_p, z); /* the largest weight is 1 */
    return NAME(pick)(V, z, uniform, work);
}
