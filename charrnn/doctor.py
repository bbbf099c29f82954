"""The machine: what computes here, how fast it is measured to be, and what would make it faster.

Nothing here is needed to train. What cannot be found out on a system is None.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from importlib import metadata

import numpy as np

from charrnn.config import ModelConfig, TrainConfig
from charrnn.data.stream import Stream
from charrnn.nn import model
from charrnn.parallel.plan import available_threads, usual_threads
from charrnn.system.blas import Blas, blas, numpy_config
from charrnn.system.meter import seconds_per_unit
from charrnn.system.processor import best_kernel, cpu_facts
from charrnn.training.budget import char_seconds
from charrnn.training.loop import Training
from charrnn.version import __version__

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE")
PACKAGES = ("click", "tqdm", "rich", "threadpoolctl", "numba")  # the last is not required
TRAINING_PRODUCT = (32, 384, 1536)  # a step in time of the default model: (B, H) by (H, 4 H)
_LARGE_PRODUCTS = (2048, 1024, 512)  # edges; the first that is quick enough is measured
_LARGE_SECONDS = 0.4  # what one large product may take
_VOCAB_SIZE = 65  # of the random text: that of English prose with its punctuation
_OPTIMISED = ("openblas", "mkl", "accelerate", "blis", "armpl", "nvpl", "atlas", "essl")
#: OpenBLAS kernels that multiply float32 by the code of another.
_LIKE = {"Zen": "Haswell", "Cooperlake": "SkylakeX", "SapphireRapids": "SkylakeX"}
_CROWDED = 1.25  # what wants a core, for each core there is, above which threads wait
_UNOPTIMISED_GFLOPS = 5.0  # one core of the last ten years does more with any optimised library
#: What NumPy calls a processor's features: newer versions name levels of x86-64.
_FEATURES = {
    "AVX2": {"AVX2", "X86_V3"},
    "FMA": {"FMA3", "X86_V3"},
    "AVX-512": {"AVX512_SKX", "X86_V4"},
    "NEON": {"NEON", "ASIMD"},
}


@dataclass(frozen=True)
class Speed:
    """What was measured.

    large_product       the edge of the square float32 matrices of the large product
    large_gflops        10^9 operations per second in it
    training_gflops     likewise in a product of TRAINING_PRODUCT's shape
    chars_per_second    of the default model's training, on random text
    """

    large_product: int
    large_gflops: float
    training_gflops: float
    chars_per_second: float


@dataclass(frozen=True)
class Machine:
    """All facts.

    cores             those that this process may use, and all_cores
    load              programs that wanted a core of them all, the mean of the minute before the measurements
    memory            bytes
    kernel_chosen_by  whose choice the BLAS's kernel is: "library", "user" by the environment, or "charrnn"
    best_kernel       the one that is known to be best on this processor
    parameters        of the default model; parameter_bytes is their memory
    variables         those of the environment that matter here; None where not set
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
    variables: dict[str, str | None]
    packages: dict[str, str | None]


def look(seconds: float = 1.0, set_kernel: str | None = None) -> Machine:
    """Return the facts; what is measured takes about twice these seconds.

    set_kernel  what the command has set OPENBLAS_CORETYPE to, if it has
    """
    load = _load()  # before this process adds to it
    cpu, library = cpu_facts(), blas()
    config = ModelConfig(_VOCAB_SIZE)
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
        variables={name: os.environ.get(name) for name in VARIABLES},
        packages={name: _version(name) for name in PACKAGES},
    )


def _chooser(kernel: str | None, set_kernel: str | None) -> str | None:
    """Return whose choice the kernel is: the library's own, too, where it did not follow what it was told."""
    if kernel is None:
        return None
    if kernel.lower() != os.environ.get("OPENBLAS_CORETYPE", "").lower():
        return "library"
    return "charrnn" if set_kernel else "user"


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return int(os.process_cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def speed(seconds: float = 1.0) -> Speed:
    """Measure the products for about these seconds together, and training for as long."""
    training = _gflops(*TRAINING_PRODUCT, seconds / 4)
    quick = [edge for edge in _LARGE_PRODUCTS if 2e-9 * edge**3 / training < _LARGE_SECONDS * seconds]
    edge = max(quick, default=_LARGE_PRODUCTS[-1])
    return Speed(edge, _gflops(edge, edge, edge, seconds / 2), training, _chars_per_second(seconds))


def _gflops(rows: int, inner: int, columns: int, seconds: float) -> float:
    """Return 10^9 operations per second in a float32 product: the median of several."""
    rng = np.random.default_rng(0)
    a, b = rng.random((rows, inner), np.float32), rng.random((inner, columns), np.float32)
    out = np.empty((rows, columns), np.float32)

    def multiply() -> int:
        np.matmul(a, b, out=out)
        return 2 * rows * inner * columns

    return 1e-9 / seconds_per_unit(multiply, seconds)


def _chars_per_second(seconds: float) -> float:
    """Return the rate of training the default model with default settings, evaluations and saves not counted."""
    rng = np.random.default_rng(0)
    model_config, config = ModelConfig(_VOCAB_SIZE), TrainConfig(steps=1, seed=0)
    config = replace(config, threads=usual_threads(model_config.hidden_size, available_threads()))
    ids = rng.integers(_VOCAB_SIZE, size=100 * config.batch_size * config.seq_len)
    stream = Stream(ids, config.batch_size, config.seq_len)
    training = Training(model_config, config, stream, ids[:0])
    state = training.begin(model.init_params(model_config, rng))
    with training.workers() as workers:
        return 1 / char_seconds(training, state, workers, seconds)


def advice(machine: Machine) -> list[str]:
    """Return what would make this machine faster, in sentences; only what the facts show."""
    found, library = [], machine.blas
    variable, limit = _thread_variable(library), _thread_limit(machine)
    threads = library.threads or (limit[1] if limit else machine.cores if variable else 1)
    load = machine.load or 0.0
    busy = load + threads > _CROWDED * machine.all_cores
    if busy:
        wanted = f"In the last minute {load:.1f} programs at a time wanted a core, and there are {machine.all_cores}."
        if threads == 1:
            found.append(f"{wanted} If they still run, training is faster without them.")
        else:
            found.append(
                f"{wanted} If they still run, stop them or "
                f"{f'set {variable}=1' if variable else 'let the BLAS use one thread'}: the {threads} threads of a "
                "matrix product wait for one another, and if one waits for a core, training can be many times slower."
            )
    elif limit and limit[1] < machine.cores:
        found.append(
            f"{limit[0]}={limit[1]} keeps matrix products to {limit[1]} of {machine.cores} cores. Unset it if no other "
            "program needs the rest, and compare the rates."
        )
    best, kernel = machine.best_kernel, library.kernel
    if variable == "OPENBLAS_NUM_THREADS" and best and kernel and _LIKE.get(kernel, kernel) != best:
        told = f"OpenBLAS uses its {kernel} kernels, and on this processor training is faster with {best}."
        chosen = machine.variables.get("OPENBLAS_CORETYPE")
        if machine.kernel_chosen_by == "user":
            found.append(f"{told} Set OPENBLAS_CORETYPE={best} instead of {chosen}.")
        elif not chosen:
            found.append(
                f"{told} Set OPENBLAS_CORETYPE={best} before Python starts. Where NumPy is a wheel with its own "
                "OpenBLAS, the command charrnn does so by itself."
            )
    known = any(name in (library.name or "").lower() for name in _OPTIMISED)
    if not known and not busy and machine.speed.large_gflops < _UNOPTIMISED_GFLOPS:
        found.append(
            f"Matrix products run at {machine.speed.large_gflops:.1f} GFLOP/s, and NumPy names no optimised BLAS. "
            "NumPy's wheel brings one: pip install --force-reinstall numpy."
        )
    return found


def _thread_variable(library: Blas) -> str | None:
    """Return the variable that sets this library's number of threads."""
    name = (library.name or "").lower()
    return "OPENBLAS_NUM_THREADS" if "openblas" in name else "MKL_NUM_THREADS" if "mkl" in name else None


def _thread_limit(machine: Machine) -> tuple[str, int] | None:
    """Return the variable that this library takes its number of threads from, and the number."""
    own = _thread_variable(machine.blas)
    for name in (own, "OMP_NUM_THREADS") if own else ():
        value = machine.variables.get(name) or ""
        if value.isdecimal() and int(value) > 0:
            return name, int(value)
    return None


def _features() -> tuple[str, ...]:
    """Return those features of the processor that matter for products and that NumPy found."""
    extensions = numpy_config("SIMD Extensions")
    found = {*extensions.get("baseline", ()), *extensions.get("found", ())}
    return tuple(name for name, words in _FEATURES.items() if words & found)


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return None


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
