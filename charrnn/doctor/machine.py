"""Describe the machine that charrnn runs on, measure its speed, and advise what would make it faster.

Training does not use this module. A fact that the system does not reveal is None.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from importlib import metadata

import numpy as np

from charrnn.config import ModelConfig, TrainConfig, default_of
from charrnn.data.stream import Stream
from charrnn.nn import compiled, model
from charrnn.parallel.plan import available_threads, usual_threads
from charrnn.system.blas import Blas, blas, numpy_config
from charrnn.system.load import cores, is_crowded, load_average
from charrnn.system.meter import seconds_per_unit
from charrnn.system.processor import best_kernel, cpu_facts
from charrnn.training.budget import char_seconds, step_seconds
from charrnn.training.loop import Training
from charrnn.version import __version__

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE")
PACKAGES = ("click", "tqdm", "rich", "threadpoolctl")
TRAINING_PRODUCT = (32, 384, 1536)  # one time step of the default model: (B, H) by (H, 4 H)
BATCH_SIZE: int = default_of("batch_size")
SEQ_LEN: int = default_of("seq_len")
_LARGE_PRODUCTS = (2048, 1024, 512)  # sizes of square matrices; the first that is quick enough is measured
_LARGE_SECONDS = 0.4  # limit of the time for one large product
VOCAB_SIZE = 65  # symbols of the random text, as many as in English prose with punctuation
#: Models of which the training speed is measured, besides the default one.
SIZES = {
    f"{cell} {layers}x{units}": ModelConfig(VOCAB_SIZE, cell=cell, num_layers=layers, hidden_size=units)
    for cell in ("lstm", "lnlstm")
    for layers, units in ((1, 128), (1, 256), (2, 512))
}
_OPTIMISED = ("openblas", "mkl", "accelerate", "blis", "armpl", "nvpl", "atlas", "essl")
#: OpenBLAS kernels that share another kernel's code for float32 products.
_LIKE = {"Zen": "Haswell", "Cooperlake": "SkylakeX", "SapphireRapids": "SkylakeX"}
_UNOPTIMISED_GFLOPS = 5.0  # any optimised library exceeds this on one core of the last ten years
#: NumPy's names for processor features; newer versions name levels of x86-64 instead.
_FEATURES = {
    "AVX2": {"AVX2", "X86_V3"},
    "FMA": {"FMA3", "X86_V3"},
    "AVX-512": {"AVX512_SKX", "X86_V4"},
    "NEON": {"NEON", "ASIMD"},
}


@dataclass(frozen=True)
class Speed:
    """The measured speed of this machine.

    large_product       rows of the square float32 matrices that were multiplied
    large_gflops        10^9 operations per second in that product
    training_gflops     10^9 operations per second in a product of TRAINING_PRODUCT's shape
    chars_per_second    training speed of the default model on random text
    threads             that it uses; gain: how many times as fast it is as with one
    step                seconds of one of its steps
    sizes               training speed of models of other sizes, in characters per second; SIZES has their names
    """

    large_product: int
    large_gflops: float
    training_gflops: float
    chars_per_second: float
    threads: int
    gain: float
    step: float
    sizes: dict[str, float]


@dataclass(frozen=True)
class Machine:
    """Everything that `charrnn doctor` reports.

    cores             cores that this process may use; all_cores counts the machine's
    load              mean number of runnable programs in the minute before the measurements
    memory            bytes
    kernel_chosen_by  who chose the BLAS's kernel: "library", "user" through the environment, or "charrnn"
    best_kernel       the kernel known to be fastest on this processor
    parameters        of the default model; parameter_bytes is their memory
    core              the variant of the compiled core that computes; None if NumPy does, and core_missing says why
    variables         environment variables that affect speed; None if not set
    """

    charrnn: str
    python: str
    platform: str
    processor: str | None
    features: tuple[str, ...]
    cores: int
    all_cores: int
    load: float | None
    memory: int | None
    numpy: str
    blas: Blas
    kernel_chosen_by: str | None
    best_kernel: str | None
    speed: Speed
    parameters: int
    parameter_bytes: int
    core: str | None
    core_missing: str
    variables: dict[str, str | None]
    packages: dict[str, str | None]


def measure_machine(seconds: float = 1.0, set_kernel: str | None = None) -> Machine:
    """Collect the facts and measure the speed, which takes about five times these seconds on two cores.

    set_kernel  the value to which the command set OPENBLAS_CORETYPE; None if it did not
    """
    load = load_average()  # before this process adds to it
    cpu, library = cpu_facts(), blas()
    config = ModelConfig(VOCAB_SIZE)
    sizes = [int(np.prod(shape)) for shape in model.param_shapes(config).values()]
    return Machine(
        charrnn=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        processor=cpu.get("model name") or platform.processor() or None,
        features=_features(),
        cores=cores(),
        all_cores=os.cpu_count() or cores(),
        load=load,
        memory=_memory(),
        numpy=np.__version__,
        blas=library,
        kernel_chosen_by=_chooser(library.kernel, set_kernel),
        best_kernel=best_kernel(cpu),
        speed=speed(seconds),
        parameters=sum(sizes),
        parameter_bytes=sum(sizes) * np.dtype(config.dtype).itemsize,
        core=compiled.variant(),
        core_missing=compiled.missing(),
        variables={name: os.environ.get(name) for name in VARIABLES},
        packages={name: _version(name) for name in PACKAGES},
    )


def _chooser(kernel: str | None, set_kernel: str | None) -> str | None:
    """Return who chose the kernel; a library that ignored OPENBLAS_CORETYPE chose by itself."""
    if kernel is None:
        return None
    if kernel.lower() != os.environ.get("OPENBLAS_CORETYPE", "").lower():
        return "library"
    return "charrnn" if set_kernel else "user"


def speed(seconds: float = 1.0) -> Speed:
    """Measure matrix products for about three quarters of these seconds, and each training for about half or less."""
    training = gflops(*TRAINING_PRODUCT, seconds / 4)
    quick = [edge for edge in _LARGE_PRODUCTS if 2e-9 * edge**3 / training < _LARGE_SECONDS * seconds]
    edge = max(quick, default=_LARGE_PRODUCTS[-1])
    large = gflops(edge, edge, edge, seconds / 2)
    usual = usual_training(ModelConfig(VOCAB_SIZE))
    char, threads = measured_char(usual, seconds / 2), usual.config.threads or 1
    alone = replace(usual, config=replace(usual.config, threads=1))
    return Speed(
        edge,
        large,
        training,
        chars_per_second=1 / char,
        threads=threads,
        gain=measured_char(alone, seconds / 2) / char if threads > 1 else 1.0,
        step=step_seconds(usual, char),
        sizes={name: 1 / measured_char(usual_training(config), seconds / 4) for name, config in SIZES.items()},
    )


def gflops(rows: int, inner: int, columns: int, seconds: float) -> float:
    """Return 10^9 operations per second in a float32 product of these sizes, the median of several."""
    rng = np.random.default_rng(0)
    a, b = rng.random((rows, inner), np.float32), rng.random((inner, columns), np.float32)
    out = np.empty((rows, columns), np.float32)

    def multiply() -> int:
        np.matmul(a, b, out=out)
        return 2 * rows * inner * columns

    return 1e-9 / seconds_per_unit(multiply, seconds)


def usual_training(model_config: ModelConfig, batch_size: int = BATCH_SIZE, available: int | None = None) -> Training:
    """Return the training of a model on random text, with the default settings and threads.

    available: threads that it may use; None for those of NumPy's matrix products
    """
    config = TrainConfig(steps=1, seed=0, batch_size=batch_size)
    threads = usual_threads(model_config, config.batch_size, config.seq_len, available or available_threads())
    ids = np.random.default_rng(0).integers(VOCAB_SIZE, size=100 * config.batch_size * config.seq_len)
    stream = Stream(ids, config.batch_size, config.seq_len)
    return Training(model_config, replace(config, threads=threads), stream, ids[:0])


def measured_char(training: Training, seconds: float) -> float:
    """Return the seconds of training on one character, without evaluations and saves."""
    state = training.begin(model.init_params(training.model_config, np.random.default_rng(0)))
    with training.workers() as workers:
        return char_seconds(training, state, workers, seconds)


def advice(machine: Machine) -> list[str]:
    """Return suggestions that would make this machine faster, each backed by a fact."""
    sentences, library = [], machine.blas
    variable, limit = _thread_variable(library), _thread_limit(machine)
    threads = library.threads or (limit[1] if limit else machine.cores if variable else 1)
    load = machine.load or 0.0
    busy = is_crowded(load, threads, machine.all_cores)
    if busy:
        crowded = f"In the last minute, {load:.1f} programs on average competed for {machine.all_cores} cores."
        if threads == 1:
            sentences.append(f"{crowded} Training is faster if you stop those that are still running.")
        else:
            sentences.append(
                f"{crowded} Stop those that are still running, or "
                f"{f'set {variable}=1' if variable else 'let the BLAS use one thread'}: the {threads} threads of a "
                "matrix product wait for one another, so if one waits for a core, training can be many times slower."
            )
    elif limit and limit[1] < machine.cores:
        sentences.append(
            f"{limit[0]}={limit[1]} limits matrix products to {limit[1]} of {machine.cores} cores. Unset it if no "
            "other program needs the rest, and compare the speeds."
        )
    best, kernel = machine.best_kernel, library.kernel
    if variable == "OPENBLAS_NUM_THREADS" and best and kernel and _LIKE.get(kernel, kernel) != best:
        finding = f"OpenBLAS uses its {kernel} kernels, but on this processor training is faster with {best}."
        chosen = machine.variables.get("OPENBLAS_CORETYPE")
        if machine.kernel_chosen_by == "user":
            sentences.append(f"{finding} Set OPENBLAS_CORETYPE={best} instead of {chosen}.")
        elif not chosen:
            sentences.append(
                f"{finding} Set OPENBLAS_CORETYPE={best} before Python starts. The charrnn command does so itself if "
                "NumPy is a wheel with its own OpenBLAS."
            )
    known = any(name in (library.name or "").lower() for name in _OPTIMISED)
    if not known and not busy and machine.speed.large_gflops < _UNOPTIMISED_GFLOPS:
        sentences.append(
            f"Matrix products reach only {machine.speed.large_gflops:.1f} GFLOP/s, and NumPy reports no optimised "
            "BLAS. NumPy's wheel includes one: pip install --force-reinstall numpy."
        )
    if machine.core_missing:
        sentences.append(f"NumPy computes, up to twice as slow as the compiled core, which is {machine.core_missing}.")
    return sentences


def _thread_variable(library: Blas) -> str | None:
    """Return the environment variable that sets this library's number of threads."""
    name = (library.name or "").lower()
    return "OPENBLAS_NUM_THREADS" if "openblas" in name else "MKL_NUM_THREADS" if "mkl" in name else None


def _thread_limit(machine: Machine) -> tuple[str, int] | None:
    """Return the environment variable that limits this library's threads, and the limit; None without one."""
    own = _thread_variable(machine.blas)
    for name in (own, "OMP_NUM_THREADS") if own else ():
        value = machine.variables.get(name) or ""
        if value.isdecimal() and int(value) > 0:
            return name, int(value)
    return None


def _features() -> tuple[str, ...]:
    """Return the processor features that speed up products, of those that NumPy detected."""
    extensions = numpy_config("SIMD Extensions")
    names = {*extensions.get("baseline", ()), *extensions.get("found", ())}
    return tuple(name for name, words in _FEATURES.items() if words & names)


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
