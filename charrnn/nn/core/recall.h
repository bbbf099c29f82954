/* The continuous cache: each row remembers a key for each of its last positions, made from the last layer's output, and
   the id that followed. Positions with keys like the present one predict the ids that followed them. The equations are
   in `charrnn/memory/cache.py`. */

/* Positions of a row that are looked up together, so that its keys are read from memory once for all of them. */
#undef TOGETHER
#define TOGETHER 16

/* A number of a stored key. Of a float only the upper half is kept, rounded, which a processor turns into a float by a
   shift: reading the keys takes most of a look-up's time, and 8 bits of precision suffice. Queries are not rounded. */
#undef Key
#define Key NAME(key)
#if SINGLE
typedef uint16_t Key;
typedef uint16_t NAME(halves) __attribute__((vector_size(VECTOR / 2), aligned(sizeof(uint16_t)), may_alias));
typedef uint32_t NAME(words) __attribute__((vector_size(VECTOR), may_alias));

static inline Key NAME(stored)(REAL number)
{
    const union { REAL number; uint32_t bits; } value = {number};
    return (Key)((value.bits + 0x8000) >> 16);
}

static inline Vector NAME(loaded)(const Key *keys)
{
    return (Vector)(__builtin_convertvector(*(const NAME(halves) *)keys, NAME(words)) << 16);
}
#else
typedef REAL Key;

static inline Key NAME(stored)(REAL number) { return number; }

static inline Vector NAME(loaded)(const Key *keys) { return *(const Vector *)keys; }
#endif

/* scores (rows, stride) += the products of these queries (rows, D) with the keys of neighbouring panels; both counts are
   constants wherever this is inlined. */
static inline __attribute__((always_inline)) void NAME(compare)(
    const Size rows, const Size panels, Size D, const REAL *restrict queries, const Key *restrict keys,
    REAL *restrict scores, Size stride)
{
    Vector sum[4][2];
    for (Size j = 0; j < rows * panels; j++)
        sum[j][0] = sum[j][1] = (Vector){0};
    for (Size k = 0; k < D; k++) {
        UNROLL
        for (Size p = 0; p < panels; p++) {
            const Key *row = keys + (p * D + k) * PANEL;
            const Vector left = NAME(loaded)(row), right = NAME(loaded)(row + LANES);
            UNROLL
            for (Size m = 0; m < rows; m++) {
                sum[p * rows + m][0] += queries[m * D + k] * left;
                sum[p * rows + m][1] += queries[m * D + k] * right;
            }
        }
    }
    for (Size p = 0; p < panels; p++)
        for (Size m = 0; m < rows; m++) {
            Vector *to = (Vector *)(scores + m * stride + p * PANEL);
            to[0] = sum[p * rows + m][0];
            to[1] = sum[p * rows + m][1];
        }
}

/* scores (n, slots) = the similarities of queries (n, D) with keys, packed as a matrix (D, slots). Each is a sum in
   ascending order of k, however many there are. */
static void NAME(compare_all)(Size n, Size D, Size slots, const REAL *queries, const Key *keys, REAL *scores)
{
    const Size fours = n / 4 * 4;
    for (Size first = 0, panels; first < slots; first += panels * PANEL, keys += panels * PANEL * D) {
        panels = first + 4 * PANEL <= slots ? 4 : 1;
        for (Size p = 0; p < panels && fours; p++)
            for (Size m = 0; m < fours; m += 4)
                NAME(compare)(
                    4, 1, D, queries + m * D, keys + p * PANEL * D, scores + m * slots + first + p * PANEL, slots);
        for (Size m = fours; m < n; m++)
            if (panels == 4)
                NAME(compare)(1, 4, D, queries + m * D, keys, scores + m * slots + first, slots);
            else
                NAME(compare)(1, 1, D, queries + m * D, keys, scores + m * slots + first, slots);
    }
}

/* Memory for one block of positions. */
typedef struct {
    REAL *h, *keys, *scores, *p, *q;
} NAME(Recalling);

/* Write the keys (n, D) of the outputs h (n, H): projected, centred and scaled to length one. */
static void NAME(make_keys)(const Memory *memory, Size n, const REAL *h, REAL *keys)
{
    const Size D = memory->D;
    const REAL *restrict centre = memory->centre;
    NAME(product)(n, memory->H, D, h, memory->projection, keys, 0, 0);
    for (; n--; keys += D) {
        REAL *restrict key = keys, total = 0;
#pragma omp simd reduction(+ : total)
        for (Size k = 0; k < D; k++) {
            key[k] -= centre[k];
            total += key[k] * key[k];
        }
        const REAL scale = 1 / (NAME(root)(total) + TINY);
#pragma omp simd
        for (Size k = 0; k < D; k++)
            key[k] *= scale;
    }
}

/* Add the weights of entries [from, to) of a row to the ids that followed. */
static void NAME(gather_mass)(
    const Memory *memory, const int32_t *ids, REAL most, Size from, Size to, REAL *scores, REAL *mass)
{
    const REAL sharpness = memory->sharpness;
#pragma omp simd
    for (Size i = from; i < to; i++)
        scores[i] = NAME(exp_of)(sharpness * (scores[i] - most));
    for (Size i = from; i < to; i++)
        mass[ids[i]] += scores[i];
}

/* Mix one row of logits with what `count` entries predict; or, if features are requested, replace it by the latter. */
static void NAME(mix)(
    const Memory *memory, Size V, Size count, const int32_t *ids, REAL *scores, REAL *restrict logits, double *features,
    REAL *restrict p, REAL *restrict q)
{
    const Size length = count < memory->N ? count : memory->N, begin = (count - length) % memory->slots;
    const Size end = begin + length < memory->slots ? begin + length : memory->slots, wrapped = length - (end - begin);
    const REAL most = NAME(largest)(V, logits);
    REAL total = 0;
#pragma omp simd reduction(+ : total)
    for (Size v = 0; v < V; v++) {
        p[v] = NAME(exp_of)(logits[v] - most);
        total += p[v];
    }
    double own[FEATURES] = {0}, activation = memory->gate ? memory->gate[FEATURES] : 0;
    memset(q, 0, V * sizeof(REAL));
    if (length) {
        REAL near = NAME(largest)(end - begin, scores + begin);
        if (wrapped) {
            const REAL other = NAME(largest)(wrapped, scores);
            near = other > near ? other : near;
        }
        NAME(gather_mass)(memory, ids, near, begin, end, scores, q);
        NAME(gather_mass)(memory, ids, near, 0, wrapped, scores, q);
        const REAL mass = NAME(sum)(V, q); /* of what was added up, so that q sums to one as exactly as it can */
        REAL pp = 0, qq = 0, pq = 0;
        const REAL net = 1 / total, cache = 1 / mass;
#pragma omp simd reduction(+ : pp, qq, pq)
        for (Size v = 0; v < V; v++) {
            p[v] *= net;
            q[v] *= cache;
            pp += p[v] * p[v];
            qq += q[v] * q[v];
            pq += p[v] * q[v];
        }
        own[0] = near;
        own[1] = log(mass) + memory->sharpness * near;
        own[2] = log(pp);
        own[3] = log(qq);
        own[4] = log(pq + LEAST_AGREEMENT);
        own[5] = NAME(largest)(V, p);
        own[6] = NAME(largest)(V, q);
        own[7] = log(length + 1.0);
    }
    if (features) {
        memcpy(features, own, sizeof(own));
        memcpy(logits, q, V * sizeof(REAL));
        return;
    }
    for (int f = 0; f < FEATURES; f++)
        activation += memory->gate[f] * own[f];
    const double open = 1 / (1 + exp(-activation)), share = !length ? 0 : open < MOST_SHARE ? open : MOST_SHARE;
    const REAL heat = memory->temperature, cold = 1 / heat, cache = share, net = 1 - share, log_net = log1p(-share);
    total = 0;
#pragma omp simd reduction(+ : total)
    for (Size v = 0; v < V; v++) {
        p[v] = NAME(exp_of)(cold * (logits[v] - most));
        total += p[v];
    }
    const REAL scale = net / total, log_scale = log_net - NAME(log_of)(total);
    for (Size v = 0; v < V; v++) { /* without q, p may be too small for its type */
        const REAL log_p = q[v] > 0 ? NAME(log_of)(scale * p[v] + cache * q[v]) : cold * (logits[v] - most) + log_scale;
        logits[v] = heat * log_p;
    }
}

/* Let a row of the memory forget all but what it begins with. */
static void NAME(forget)(const Memory *memory, Size row)
{
    const Size slots = memory->slots;
    memory->counts[row] = memory->first;
    if (memory->first) {
        memcpy((Key *)memory->keys + row * slots * memory->D, memory->first_keys, slots * memory->D * sizeof(Key));
        memcpy(memory->ids + row * slots, memory->first_ids, slots * sizeof(int32_t));
    }
}

/* Remember a window of ids (T, B) and the outputs h (T, B, H) that follow them. logits (T, B, V), if not NULL, become
   the logarithms of the mixed probabilities; or, if features (T, B, FEATURES) are requested, the probabilities of the
   cache alone. Return 0 if there is no memory for it. */
static int NAME(recall)(
    const Memory *memory, Size T, Size B, Size V, const int32_t *ids, const unsigned char *keep, const REAL *h,
    REAL *logits, double *features)
{
    const Size H = memory->H, D = memory->D, slots = memory->slots, most = T < TOGETHER ? T : TOGETHER;
    REAL *space = malloc((most * (H + D + slots) + 2 * V) * sizeof(REAL));
    const NAME(Recalling) to = {space, space + most * H, space + most * (H + D), space + most * (H + D + slots),
        space + most * (H + D + slots) + V};
    for (Size b = 0; space && b < B; b++) {
        const Size row = memory->rows[b];
        Key *own = (Key *)memory->keys + row * slots * D;
        int32_t *followed_by = memory->ids + row * slots;
        for (Size t = 0, n; t < T; t += n) {
            if (keep && !keep[t * B + b])
                NAME(forget)(memory, row);
            for (n = 1; n < most && t + n < T && (!keep || keep[(t + n) * B + b]); n++)
                ;
            for (Size j = 0; j < n; j++)
                memcpy(to.h + j * H, h + ((t + j) * B + b) * H, H * sizeof(REAL));
            NAME(make_keys)(memory, n, to.h, to.keys);
            const Size count = memory->counts[row], last = count + n;
            for (Size j = 0; j < n; j++) {
                const Size entry = count + j, slot = entry % slots;
                if (entry > memory->first) /* the entry before this one was waiting for its id */
                    followed_by[(entry - 1) % slots] = ids[(t + j) * B + b];
                Key *column = own + slot / PANEL * D * PANEL + slot % PANEL;
                for (Size k = 0; k < D; k++)
                    column[k * PANEL] = NAME(stored)(to.keys[j * D + k]);
            }
            memory->counts[row] = last;
            if (!logits)
                continue;
            const Size used = last < slots ? (last + PANEL - 1) / PANEL * PANEL : slots;
            NAME(compare_all)(n, D, used, to.keys, own, to.scores);
            for (Size j = 0; j < n; j++) {
                const Size at = (t + j) * B + b;
                NAME(mix)(memory, V, count + j, followed_by, to.scores + j * used, logits + at * V,
                    features ? features + at * FEATURES : NULL, to.p, to.q);
            }
        }
    }
    free(space);
    return space != NULL;
}
