/* The module `charrnn.nn._core`: check the arguments, choose the kernels for this processor, release the GIL, compute.

   Arrays come as objects with the buffer protocol, contiguous, of one type (float or double) within a call. Nothing here
   needs NumPy's headers, and only the limited API of Python 3.11 is used, so one build serves all later versions. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "kernels.h"

typedef struct {
    const char *name;
    const Kernels *kernels;
} Variant;

static Variant variants[3]; /* that this processor can run, the fastest first */
static int variant_count;
static const Variant *chosen;

static void find_variants(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl"))
        variants[variant_count++] = (Variant){"avx512", kernels_avx512};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        variants[variant_count++] = (Variant){"avx2", kernels_avx2};
#endif
    variants[variant_count++] = (Variant){"baseline", kernels_baseline};
    chosen = variants;
}

static const struct {
    const char *name;
    int states, gates;
    const char *forward, *backward; /* the kind of each array of a window; see `expected` */
} cells[CELLS] = {
    [RNN] = {"rnn", 1, 1, "wgh", "tshbg"},
    [LSTM] = {"lstm", 2, 4, "wghhs", "tsghsbbg"},
    [GRU] = {"gru", 1, 3, "wHghsq", "tsgssbgsb"},
    [LNLSTM] = {"lnlstm", 2, 4, "wGHHghhgrsrs", "tsGHghgrsrsbbggsb"},
    [LNMLSTM] = {"lnmlstm", 2, 4, "wmGHHgshhssgrsrs", "tsmGHghssgrsrsbbggsbss"},
};

static Size packed_size(const Kernels *kernels, Size K, Size N)
{
    return (N + kernels->panel - 1) / kernels->panel * kernels->panel * K;
}

/* Return how many numbers an array of this kind has. */
static Size expected(char kind, const Kernels *kernels, Size T, Size B, Size G, Size H)
{
    switch (kind) {
    case 'w': return packed_size(kernels, H, G * H);
    case 't': return packed_size(kernels, G * H, H); /* transposed */
    case 'm': return packed_size(kernels, H, H);
    case 'g': return T * B * G * H;
    case 'h': return (T + 1) * B * H; /* a state before and after each step */
    case 's': return T * B * H;
    case 'r': return T * B;
    case 'q': return B * G * H;
    case 'b': return B * H;
    case 'G': return G * H;
    default: return H;
    }
}

/* The buffers of one call. */
typedef struct {
    Py_buffer views[10 * MOST_LAYERS + 8];
    int count;
    Py_ssize_t itemsize; /* of real numbers: 0 until the first of them */
} Buffers;

static void release(Buffers *buffers)
{
    while (buffers->count)
        PyBuffer_Release(buffers->views + --buffers->count);
}

/* Return the memory of an array, or NULL with an exception set. itemsize: 0 for real numbers; size: -1 for any. */
static void *memory_of(Buffers *buffers, PyObject *array, Py_ssize_t itemsize, Size size)
{
    Py_buffer *view = buffers->views + buffers->count;
    if (PyObject_GetBuffer(array, view, PyBUF_SIMPLE))
        return NULL;
    buffers->count++;
    if (!itemsize) {
        if (!buffers->itemsize && (view->itemsize == sizeof(float) || view->itemsize == sizeof(double)))
            buffers->itemsize = view->itemsize;
        itemsize = buffers->itemsize;
    }
    if (view->itemsize != itemsize) {
        PyErr_Format(PyExc_TypeError, "array %d has numbers of %zd bytes", buffers->count, view->itemsize);
        return NULL;
    }
    if (size >= 0 && view->len != size * itemsize) {
        PyErr_Format(PyExc_ValueError, "array %d has %zd bytes, not %zd", buffers->count, view->len, size * itemsize);
        return NULL;
    }
    return view->buf;
}

/* As memory_of, but None is NULL without an exception. */
static void *optional_memory(Buffers *buffers, PyObject *array, Py_ssize_t itemsize, Size size)
{
    return Py_IsNone(array) ? NULL : memory_of(buffers, array, itemsize, size);
}

/* Release the buffers; return None, or NULL with an exception set. done: 0 if there was no memory. */
static PyObject *finish(Buffers *buffers, int done)
{
    release(buffers);
    if (PyErr_Occurred())
        return NULL;
    if (!done)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static const Kernels *kernels_of(Py_ssize_t itemsize) { return chosen->kernels + (itemsize == sizeof(double)); }

static int cell_of(PyObject *name)
{
    for (int cell = 0; cell < CELLS; cell++)
        if (PyUnicode_Check(name) && !PyUnicode_CompareWithASCIIString(name, cells[cell].name))
            return cell;
    PyErr_SetString(PyExc_ValueError, "no such cell");
    return -1;
}

static int has_arguments(Py_ssize_t count, Py_ssize_t needed)
{
    if (count != needed)
        PyErr_Format(PyExc_TypeError, "%zd arguments instead of %zd", count, needed);
    return count == needed;
}

/* Read whole numbers; return 0 with an exception set if one is negative or none. */
static int sizes_of(PyObject *const *args, int count, Size *sizes)
{
    for (int n = 0; n < count; n++) {
        sizes[n] = PyLong_AsSsize_t(args[n]);
        if (sizes[n] < 0) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "a size is negative");
            return 0;
        }
    }
    return 1;
}

static PyObject *core_variants(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(arg))
{
    PyObject *names = PyList_New(0);
    for (int n = 0; names && n < variant_count; n++) {
        PyObject *name = PyUnicode_FromString(variants[n].name);
        if (!name || PyList_Append(names, name))
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

static PyObject *core_variant(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(arg))
{
    return PyUnicode_FromString(chosen->name);
}

static PyObject *core_select(PyObject *Py_UNUSED(self), PyObject *name)
{
    for (int n = 0; n < variant_count; n++)
        if (PyUnicode_Check(name) && !PyUnicode_CompareWithASCIIString(name, variants[n].name)) {
            chosen = variants + n;
            Py_RETURN_NONE;
        }
    PyErr_SetString(PyExc_ValueError, "no such variant on this processor");
    return NULL;
}

static PyObject *core_packed_size(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    Size sizes[3];
    if (!has_arguments(count, 3) || !sizes_of(args, 3, sizes))
        return NULL;
    return PyLong_FromSsize_t(packed_size(kernels_of(sizes[0]), sizes[1], sizes[2]));
}

/* pack(K, N, W, transposed, packed) */
static PyObject *core_pack(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    Size sizes[2];
    if (!has_arguments(count, 5) || !sizes_of(args, 2, sizes))
        return NULL;
    Buffers buffers = {.count = 0};
    const void *W = memory_of(&buffers, args[2], 0, sizes[0] * sizes[1]);
    const Kernels *kernels = kernels_of(buffers.itemsize);
    void *packed = W ? memory_of(&buffers, args[4], 0, packed_size(kernels, sizes[0], sizes[1])) : NULL;
    if (packed)
        kernels->pack(sizes[0], sizes[1], W, PyObject_IsTrue(args[3]), packed);
    return finish(&buffers, 1);
}

/* forward(cell, T, B, H, keep, arrays...) and backward(...) */
static PyObject *run_window(int backwards, PyObject *const *args, Py_ssize_t count)
{
    Size sizes[3];
    if (count < 5) {
        PyErr_SetString(PyExc_TypeError, "too few arguments");
        return NULL;
    }
    const int cell = cell_of(args[0]);
    if (cell < 0 || !sizes_of(args + 1, 3, sizes))
        return NULL;
    const char *kinds = backwards ? cells[cell].backward : cells[cell].forward;
    if (!has_arguments(count, 5 + (Py_ssize_t)strlen(kinds)))
        return NULL;
    Window window = {sizes[0], sizes[1], sizes[2], NULL, {0}};
    Buffers buffers = {.count = 0};
    window.keep = optional_memory(&buffers, args[4], 1, window.T * window.B);
    for (int n = 0; kinds[n] && !PyErr_Occurred(); n++) {
        void *memory = memory_of(&buffers, args[5 + n], 0, -1);
        if (!memory)
            break;
        const Py_buffer *view = buffers.views + buffers.count - 1;
        const Kernels *kernels = kernels_of(buffers.itemsize);
        const Size size = expected(kinds[n], kernels, window.T, window.B, cells[cell].gates, window.H);
        if (view->len != size * buffers.itemsize)
            PyErr_Format(PyExc_ValueError, "array %d has %zd bytes, not %zd", n, view->len, size * buffers.itemsize);
        window.array[n] = memory;
    }
    if (!PyErr_Occurred()) {
        const Kernels *kernels = kernels_of(buffers.itemsize);
        Py_BEGIN_ALLOW_THREADS
        (backwards ? kernels->backward : kernels->forward)[cell](&window);
        Py_END_ALLOW_THREADS
    }
    return finish(&buffers, 1);
}

static PyObject *core_forward(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    return run_window(0, args, count);
}

static PyObject *core_backward(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    return run_window(1, args, count);
}

static const char *const NET = "charrnn net";

/* A net and the buffers that it reads. */
typedef struct {
    Net net;
    Buffers buffers;
} OwnedNet;

static void free_net(PyObject *capsule)
{
    OwnedNet *owned = PyCapsule_GetPointer(capsule, NET);
    if (owned) {
        release(&owned->buffers);
        free(owned);
    }
}

/* net(cell, L, H, V, E, W_he, W_hy, b_y, then for each layer inputs, bias, W_hh, gain_x, b_hn, gain_h, gain_c, b_c,
   inputs_m, W_hm) */
static PyObject *core_net(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    Size sizes[4];
    if (count < 8) {
        PyErr_SetString(PyExc_TypeError, "too few arguments");
        return NULL;
    }
    const int cell = cell_of(args[0]);
    if (cell < 0 || !sizes_of(args + 1, 4, sizes) || !has_arguments(count, 8 + 10 * sizes[0]))
        return NULL;
    if (sizes[0] > MOST_LAYERS) {
        PyErr_SetString(PyExc_ValueError, "too many layers");
        return NULL;
    }
    OwnedNet *owned = calloc(1, sizeof(OwnedNet));
    if (!owned)
        return PyErr_NoMemory();
    Net *net = &owned->net;
    Buffers *buffers = &owned->buffers;
    const Size L = sizes[0], H = sizes[1], V = sizes[2], E = sizes[3], K = cells[cell].gates * H;
    *net = (Net){.cell = cell, .L = L, .S = cells[cell].states, .G = cells[cell].gates, .H = H, .V = V, .E = E};
    net->b_y = memory_of(buffers, args[7], 0, V);
    const Kernels *kernels = kernels_of(buffers->itemsize);
    if (net->b_y) {
        net->W_he = optional_memory(buffers, args[5], 0, packed_size(kernels, H, E));
        net->W_hy = memory_of(buffers, args[6], 0, packed_size(kernels, net->W_he ? E : H, V));
    }
    for (Size l = 0; l < L && !PyErr_Occurred(); l++) {
        PyObject *const *of = args + 8 + 10 * l;
        Layer *layer = net->layers + l;
        layer->inputs = memory_of(buffers, of[0], 0, l ? packed_size(kernels, H, K) : V * K);
        layer->bias = memory_of(buffers, of[1], 0, K);
        layer->W_hh = memory_of(buffers, of[2], 0, packed_size(kernels, H, K));
        layer->gain_x = optional_memory(buffers, of[3], 0, K);
        layer->b_hn = optional_memory(buffers, of[4], 0, H);
        layer->gain_h = optional_memory(buffers, of[5], 0, K);
        layer->gain_c = optional_memory(buffers, of[6], 0, H);
        layer->b_c = optional_memory(buffers, of[7], 0, H);
        layer->inputs_m = optional_memory(buffers, of[8], 0, l ? packed_size(kernels, H, H) : V * H);
        layer->W_hm = optional_memory(buffers, of[9], 0, packed_size(kernels, H, H));
        const int normalises = cell == LNLSTM || cell == LNMLSTM;
        const int complete = (cell != GRU || layer->b_hn)
            && (!normalises || (layer->gain_h && layer->gain_c && layer->b_c && (!l || layer->gain_x)))
            && (cell != LNMLSTM || (layer->inputs_m && layer->W_hm));
        if (!complete && !PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "an array of a layer is missing");
    }
    PyObject *capsule = PyErr_Occurred() ? NULL : PyCapsule_New(owned, NET, free_net);
    if (!capsule) {
        release(buffers);
        free(owned);
    }
    return capsule;
}

static const int32_t *ids_of(Buffers *buffers, PyObject *array, Size size, Size V)
{
    const int32_t *ids = memory_of(buffers, array, sizeof(int32_t), size);
    for (Size n = 0; ids && n < size; n++)
        if (ids[n] < 0 || ids[n] >= V) {
            PyErr_SetString(PyExc_IndexError, "an id is out of range");
            return NULL;
        }
    return ids;
}

/* read(net, T, B, ids, keep, state, targets, log_probs, correct, outputs); the last four may be None */
static PyObject *core_read(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    Size sizes[2];
    if (!has_arguments(count, 10) || !sizes_of(args + 1, 2, sizes))
        return NULL;
    OwnedNet *owned = PyCapsule_GetPointer(args[0], NET);
    if (!owned)
        return NULL;
    const Net *net = &owned->net;
    const Size T = sizes[0], B = sizes[1];
    Buffers buffers = {.count = 0, .itemsize = owned->buffers.itemsize};
    const int32_t *ids = ids_of(&buffers, args[3], T * B, net->V), *targets = NULL;
    const unsigned char *keep = ids ? optional_memory(&buffers, args[4], 1, T * B) : NULL;
    void *state = PyErr_Occurred() ? NULL : memory_of(&buffers, args[5], 0, net->L * net->S * B * net->H);
    void *log_probs = NULL, *correct = NULL;
    if (state && !Py_IsNone(args[6])) {
        targets = ids_of(&buffers, args[6], T * B, net->V);
        log_probs = targets ? memory_of(&buffers, args[7], 0, T * B) : NULL;
        correct = log_probs ? memory_of(&buffers, args[8], 1, T * B) : NULL;
    }
    void *outputs = PyErr_Occurred() ? NULL : optional_memory(&buffers, args[9], 0, T * B * net->H);
    int done = 0;
    if (!PyErr_Occurred()) {
        const Kernels *kernels = kernels_of(buffers.itemsize);
        Py_BEGIN_ALLOW_THREADS
        done = kernels->read(net, T, B, ids, keep, state, targets, log_probs, correct, outputs);
        Py_END_ALLOW_THREADS
    }
    return finish(&buffers, done);
}

/* Read a tuple (H, D, N, slots, first, P, sharpness, temperature, projection, centre, first_keys, first_ids, gate, rows,
   keys, ids, counts) for B rows, in which first_keys, first_ids and gate may be None; return 0 with an exception set. */
static int memory_from(PyObject *tuple, Size B, Buffers *buffers, Memory *memory)
{
    PyObject *parts[17];
    if (PyTuple_Size(tuple) != 17) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "a memory has 17 parts");
        return 0;
    }
    for (int part = 0; part < 17; part++)
        parts[part] = PyTuple_GetItem(tuple, part);
    Size sizes[6];
    if (!sizes_of(parts, 6, sizes))
        return 0;
    const Size H = sizes[0], D = sizes[1], slots = sizes[3], P = sizes[5];
    *memory = (Memory){.H = H, .D = D, .N = sizes[2], .slots = slots, .first = sizes[4], .P = P,
        .sharpness = PyFloat_AsDouble(parts[6]), .temperature = PyFloat_AsDouble(parts[7])};
    if (PyErr_Occurred() || !(memory->projection = memory_of(buffers, parts[8], 0, -1)))
        return 0;
    const Kernels *kernels = kernels_of(buffers->itemsize);
    const Py_ssize_t key = buffers->itemsize == sizeof(float) ? sizeof(uint16_t) : 0; /* see `Key` in recall.h */
    int complete = slots % kernels->panel == 0 && memory->N < slots
        && buffers->views[buffers->count - 1].len == packed_size(kernels, H, D) * buffers->itemsize
        && (memory->centre = memory_of(buffers, parts[9], 0, D))
        && (!memory->first || (memory->first_keys = memory_of(buffers, parts[10], key, slots * D)))
        && (!memory->first || (memory->first_ids = memory_of(buffers, parts[11], sizeof(int32_t), slots)))
        && (Py_IsNone(parts[12]) || (memory->gate = memory_of(buffers, parts[12], sizeof(double), FEATURES + 1)))
        && (memory->rows = memory_of(buffers, parts[13], sizeof(int64_t), B))
        && (memory->keys = memory_of(buffers, parts[14], key, P * slots * D))
        && (memory->ids = memory_of(buffers, parts[15], sizeof(int32_t), P * slots))
        && (memory->counts = memory_of(buffers, parts[16], sizeof(int64_t), P));
    for (Size b = 0; complete && b < B; b++)
        complete = memory->rows[b] >= 0 && memory->rows[b] < P;
    if (!complete && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "a size of the memory does not fit the others");
    return complete;
}

/* recall(memory, T, B, V, ids, keep, h, logits, features); keep, logits and features may be None */
static PyObject *core_recall(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    Size sizes[3];
    if (!has_arguments(count, 9) || !sizes_of(args + 1, 3, sizes))
        return NULL;
    const Size T = sizes[0], B = sizes[1], V = sizes[2];
    Buffers buffers = {.count = 0};
    Memory memory;
    const int32_t *ids = memory_from(args[0], B, &buffers, &memory) ? ids_of(&buffers, args[4], T * B, V) : NULL;
    const unsigned char *keep = ids ? optional_memory(&buffers, args[5], 1, T * B) : NULL;
    const void *h = PyErr_Occurred() ? NULL : memory_of(&buffers, args[6], 0, T * B * memory.H);
    void *logits = h ? optional_memory(&buffers, args[7], 0, T * B * V) : NULL;
    double *features = logits ? optional_memory(&buffers, args[8], sizeof(double), T * B * FEATURES) : NULL;
    if (logits && !features && !memory.gate && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "logits are mixed by a gate, and there is none");
    int done = 0;
    if (!PyErr_Occurred()) {
        const Kernels *kernels = kernels_of(buffers.itemsize);
        Py_BEGIN_ALLOW_THREADS
        done = kernels->recall(&memory, T, B, V, ids, keep, h, logits, features);
        Py_END_ALLOW_THREADS
    }
    return finish(&buffers, done);
}

/* step(net, B, ids, state, logits) */
static PyObject *core_step(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    Size B;
    if (!has_arguments(count, 5) || !sizes_of(args + 1, 1, &B))
        return NULL;
    OwnedNet *owned = PyCapsule_GetPointer(args[0], NET);
    if (!owned)
        return NULL;
    const Net *net = &owned->net;
    Buffers buffers = {.count = 0, .itemsize = owned->buffers.itemsize};
    const int32_t *ids = ids_of(&buffers, args[2], B, net->V);
    void *state = ids ? memory_of(&buffers, args[3], 0, net->L * net->S * B * net->H) : NULL;
    void *logits = state ? memory_of(&buffers, args[4], 0, B * net->V) : NULL;
    int done = 0;
    if (logits) {
        const Kernels *kernels = kernels_of(buffers.itemsize);
        Py_BEGIN_ALLOW_THREADS
        done = kernels->step(net, B, ids, state, logits);
        Py_END_ALLOW_THREADS
    }
    return finish(&buffers, done);
}

/* sample(net, temperature, top_p, min_p, penalty, never, top_k, window, n, B, V, W, logits, state, uniforms, recent,
   halting, ids, log_probs, memory) -> steps; the last two may be None, and with n = 1 net and state may be */
static PyObject *core_sample(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    Size sizes[6];
    double numbers[4];
    if (!has_arguments(count, 20) || !sizes_of(args + 6, 6, sizes))
        return NULL;
    for (int n = 0; n < 4; n++)
        numbers[n] = PyFloat_AsDouble(args[1 + n]);
    const Size never = PyLong_AsSsize_t(args[5]), n = sizes[2], B = sizes[3], V = sizes[4], W = sizes[5];
    const OwnedNet *owned = PyErr_Occurred() || Py_IsNone(args[0]) ? NULL : PyCapsule_GetPointer(args[0], NET);
    if (PyErr_Occurred())
        return NULL;
    const Net *net = owned ? &owned->net : NULL;
    if (n < 1 || V < 1 || never >= V || sizes[1] > W || (net ? net->V != V : n > 1)) {
        PyErr_SetString(PyExc_ValueError, "a size does not fit the others");
        return NULL;
    }
    const Filters filters = {numbers[0], numbers[1], numbers[2], numbers[3], sizes[0], sizes[1], never};
    Samples samples = {.n = n, .B = B, .V = V, .W = W};
    Buffers buffers = {.count = 0, .itemsize = owned ? owned->buffers.itemsize : 0};
    const int complete = (samples.logits = memory_of(&buffers, args[12], 0, B * V))
        && (!net || (samples.state = memory_of(&buffers, args[13], 0, net->L * net->S * B * net->H)))
        && (samples.uniforms = memory_of(&buffers, args[14], sizeof(double), B * n))
        && (samples.recent = memory_of(&buffers, args[15], sizeof(intptr_t), B * W))
        && (samples.halting = memory_of(&buffers, args[16], 1, V))
        && (samples.ids = memory_of(&buffers, args[17], sizeof(intptr_t), n * B));
    if (complete)
        samples.log_probs = optional_memory(&buffers, args[18], 0, n * B);
    else if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "an array is empty");
    Memory memory;
    const int remembers = !PyErr_Occurred() && net && !Py_IsNone(args[19]) && memory_from(args[19], B, &buffers, &memory);
    if (remembers && (memory.H != net->H || !memory.gate))
        PyErr_SetString(PyExc_ValueError, "the memory does not fit the net");
    Size drawn = 0;
    if (!PyErr_Occurred()) {
        const Kernels *kernels = kernels_of(buffers.itemsize);
        Py_BEGIN_ALLOW_THREADS
        drawn = kernels->sample(net, remembers ? &memory : NULL, &filters, &samples);
        Py_END_ALLOW_THREADS
    }
    release(&buffers);
    if (PyErr_Occurred())
        return NULL;
    return drawn ? PyLong_FromSsize_t(drawn) : PyErr_NoMemory();
}

/* add_rows(N, K, V, ids, rows, total) */
static PyObject *core_add_rows(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    Size sizes[3];
    if (!has_arguments(count, 6) || !sizes_of(args, 3, sizes))
        return NULL;
    Buffers buffers = {.count = 0};
    const int32_t *ids = ids_of(&buffers, args[3], sizes[0], sizes[2]);
    const void *rows = ids ? memory_of(&buffers, args[4], 0, sizes[0] * sizes[1]) : NULL;
    void *total = rows ? memory_of(&buffers, args[5], 0, sizes[2] * sizes[1]) : NULL;
    if (total) {
        Py_BEGIN_ALLOW_THREADS
        kernels_of(buffers.itemsize)->add_rows(sizes[0], sizes[1], ids, rows, total);
        Py_END_ALLOW_THREADS
    }
    return finish(&buffers, 1);
}

/* cross_entropy(N, V, logits, targets, scale) */
static PyObject *core_cross_entropy(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    Size sizes[2];
    if (!has_arguments(count, 5) || !sizes_of(args, 2, sizes))
        return NULL;
    const double scale = PyFloat_AsDouble(args[4]);
    double loss = 0;
    Buffers buffers = {.count = 0};
    void *logits = PyErr_Occurred() ? NULL : memory_of(&buffers, args[2], 0, sizes[0] * sizes[1]);
    const int32_t *targets = logits ? ids_of(&buffers, args[3], sizes[0], sizes[1]) : NULL;
    if (targets) {
        Py_BEGIN_ALLOW_THREADS
        loss = kernels_of(buffers.itemsize)->cross_entropy(sizes[0], sizes[1], logits, targets, scale);
        Py_END_ALLOW_THREADS
    }
    release(&buffers);
    return PyErr_Occurred() ? NULL : PyFloat_FromDouble(loss);
}

/* normalise_rows(N, K, n, scale, gain, bias, out) and normalise_rows_back(N, K, da, n, scale, gain, dq) */
static PyObject *run_rows(int backwards, PyObject *const *args, Py_ssize_t count)
{
    Size sizes[2];
    void *arrays[5];
    if (!has_arguments(count, 7) || !sizes_of(args, 2, sizes))
        return NULL;
    const Size N = sizes[0], K = sizes[1];
    const Size expected_sizes[2][5] = {{N * K, N, K, K, N * K}, {N * K, N * K, N, K, N * K}};
    Buffers buffers = {.count = 0};
    for (int a = 0; a < 5 && !PyErr_Occurred(); a++)
        arrays[a] = memory_of(&buffers, args[2 + a], 0, expected_sizes[backwards][a]);
    if (!PyErr_Occurred()) {
        const Kernels *kernels = kernels_of(buffers.itemsize);
        Py_BEGIN_ALLOW_THREADS
        if (backwards)
            kernels->normalise_rows_back(N, K, arrays[0], arrays[1], arrays[2], arrays[3], arrays[4]);
        else
            kernels->normalise_rows(N, K, arrays[0], arrays[1], arrays[2], arrays[3], arrays[4]);
        Py_END_ALLOW_THREADS
    }
    return finish(&buffers, 1);
}

static PyObject *core_normalise_rows(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    return run_rows(0, args, count);
}

static PyObject *core_normalise_rows_back(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    return run_rows(1, args, count);
}

/* adam(n, p, g, m, v, beta1, beta2, rate, root) */
static PyObject *core_adam(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    Size n;
    double settings[4];
    void *arrays[4];
    if (!has_arguments(count, 9) || !sizes_of(args, 1, &n))
        return NULL;
    Buffers buffers = {.count = 0};
    for (int a = 0; a < 4 && !PyErr_Occurred(); a++)
        arrays[a] = memory_of(&buffers, args[1 + a], 0, n);
    for (int a = 0; a < 4 && !PyErr_Occurred(); a++)
        settings[a] = PyFloat_AsDouble(args[5 + a]);
    if (!PyErr_Occurred()) {
        const Kernels *kernels = kernels_of(buffers.itemsize);
        Py_BEGIN_ALLOW_THREADS
        kernels->adam(n, arrays[0], arrays[1], arrays[2], arrays[3], settings);
        Py_END_ALLOW_THREADS
    }
    return finish(&buffers, 1);
}

/* average(n, mean, p, share) */
static PyObject *core_average(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    Size n;
    if (!has_arguments(count, 4) || !sizes_of(args, 1, &n))
        return NULL;
    const double share = PyFloat_AsDouble(args[3]);
    Buffers buffers = {.count = 0};
    void *mean = PyErr_Occurred() ? NULL : memory_of(&buffers, args[1], 0, n);
    const void *p = mean ? memory_of(&buffers, args[2], 0, n) : NULL;
    if (p) {
        const Kernels *kernels = kernels_of(buffers.itemsize);
        Py_BEGIN_ALLOW_THREADS
        kernels->average(n, mean, p, share);
        Py_END_ALLOW_THREADS
    }
    return finish(&buffers, 1);
}

#define FAST(name) {#name, (PyCFunction)(void (*)(void))core_##name, METH_FASTCALL, NULL}

static PyMethodDef methods[] = {
    {"variants", core_variants, METH_NOARGS, NULL},
    {"variant", core_variant, METH_NOARGS, NULL},
    {"select", core_select, METH_O, NULL},
    FAST(packed_size),
    FAST(pack),
    FAST(forward),
    FAST(backward),
    FAST(net),
    FAST(read),
    FAST(recall),
    FAST(step),
    FAST(sample),
    FAST(add_rows),
    FAST(cross_entropy),
    FAST(normalise_rows),
    FAST(normalise_rows_back),
    FAST(adam),
    FAST(average),
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "charrnn.nn._core", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__core(void)
{
    find_variants();
    PyObject *core = PyModule_Create(&module);
#ifdef Py_GIL_DISABLED
    if (core) /* `select` is for tests; nothing else is shared between threads */
        PyUnstable_Module_SetGIL(core, Py_MOD_GIL_NOT_USED);
#endif
    if (core
        && (PyModule_AddStringConstant(core, "VERSION", VERSION)
            || PyModule_AddIntConstant(core, "MOST_LAYERS", MOST_LAYERS)
            || PyModule_AddIntConstant(core, "FEATURES", FEATURES)))
        Py_CLEAR(core);
    return core;
}
