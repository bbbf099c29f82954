/* Numbers: the type REAL, its vectors, and tanh and exp by operations that vectorise.

   Loops over one row of numbers are plain C, short and over `restrict` pointers: the compiler vectorises them. Sums say
   `omp simd reduction`, because the compiler may not change the order of additions on its own. No option that ignores
   NaN is used, since NaN is how diverged training shows. */

#undef LANES
#undef PANEL
#undef LINE
#undef Vector
#define LANES (VECTOR / (Size)sizeof(REAL))
#define PANEL (2 * LANES) /* columns of a packed matrix that are multiplied at once */
#define LINE (64 / (Size)sizeof(REAL)) /* numbers in a line of the cache */

typedef REAL NAME(vector) __attribute__((vector_size(VECTOR), aligned(sizeof(REAL)), may_alias));
#define Vector NAME(vector)

#if SINGLE

/* tanh(a) = a P(a^2) / Q(a^2). The relative error is at most 4e-7, and 1 is reached exactly from 8 on.
   Source: Eigen, for the coefficients. */
static inline float NAME(tanh_of)(float a)
{
    const float s = a * a;
    const float p = 1 + s * (1.340216100e-1f + s * (3.520756727e-3f + s * (2.102733560e-5f + s * 1.394553628e-8f)));
    const float q = 1 + s * (4.673548340e-1f + s * (2.597254514e-2f + s * (3.326951409e-4f + s * 8.015776984e-7f)));
    return a > 8 ? 1 : a < -8 ? -1 : a * p / q;
}

/* exp(a) for a <= 0: a power of two times a polynomial of the rest, within 2 units of the last place; 0 below -87, and
   NaN stays NaN. Adding 3 * 2^22 rounds to a whole number, which is then in the lowest bits.
   Source: Cephes, for the coefficients. */
static inline float NAME(exp_of)(float a)
{
    const float inside = a < -87 ? -87 : a, round = 12582912;
    union { float number; int32_t bits; } n = {inside * 1.44269504f + round}, power;
    const float whole = n.number - round;
    const float r = (inside - whole * 0.693359375f) + whole * 2.12194440e-4f;
    const float p = 1 + r * (1 + r * (5.0000001201e-1f + r * (1.6666665459e-1f + r * (4.1665795894e-2f
        + r * (8.3334519073e-3f + r * (1.3981999507e-3f + r * 1.9875691500e-4f))))));
    power.bits = (int32_t)((uint32_t)(n.bits + 127) << 23);
    return a < -87 ? 0 : p * power.number;
}

static inline float NAME(root)(float a) { return sqrtf(a); }
static inline float NAME(log_of)(float a) { return logf(a); }

#else

static inline double NAME(tanh_of)(double a) { return tanh(a); }

/* exp(a) for a <= 0, as for float: with the Taylor series up to the 13th power, and 0 below -708. */
static inline double NAME(exp_of)(double a)
{
    const double inside = a < -708 ? -708 : a, round = 6755399441055744;
    union { double number; int64_t bits; } n = {inside * 1.4426950408889634 + round}, power;
    const double whole = n.number - round;
    const double r = (inside - whole * 6.93145751953125e-1) - whole * 1.42860682030941723212e-6;
    const double p = 1 + r * (1 + r * (1.0 / 2 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 + r * (1.0 / 720
        + r * (1.0 / 5040 + r * (1.0 / 40320 + r * (1.0 / 362880 + r * (1.0 / 3628800 + r * (1.0 / 39916800
        + r * (1.0 / 479001600 + r / 6227020800))))))))))));
    power.bits = (int64_t)((uint64_t)(n.bits + 1023) << 52);
    return a < -708 ? 0 : p * power.number;
}

static inline double NAME(root)(double a) { return sqrt(a); }
static inline double NAME(log_of)(double a) { return log(a); }

#endif

static inline REAL NAME(sigmoid_of_half)(REAL a) { return (REAL)0.5 * NAME(tanh_of)(a) + (REAL)0.5; }

/* Return the largest of a row. Of the lanes of a vector, each finds its own first, which needs no reduction. */
static REAL NAME(largest)(Size n, const REAL *restrict z)
{
    REAL most[LANES], result;
    Size k = 0;
    for (Size j = 0; j < LANES; j++)
        most[j] = z[0];
    for (; k + LANES <= n; k += LANES)
        for (Size j = 0; j < LANES; j++)
            most[j] = z[k + j] > most[j] ? z[k + j] : most[j];
    result = most[0];
    for (Size j = 1; j < LANES; j++)
        result = most[j] > result ? most[j] : result;
    for (; k < n; k++)
        result = z[k] > result ? z[k] : result;
    return result;
}

static REAL NAME(sum)(Size n, const REAL *restrict v)
{
    REAL total = 0;
#pragma omp simd reduction(+ : total)
    for (Size k = 0; k < n; k++)
        total += v[k];
    return total;
}
