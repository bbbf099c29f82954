"""The machine: what computes here, how fast it is measured to be, and what would make it faster.

Nothing here is needed to train. What cannot be found out on a system is None.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import model
from charrnn.arrays import Scratch
from charrnn.config import ModelConfig, TrainConfig
from charrnn.stream import Stream
from charrnn.train import Training, train_step
from charrnn.version import __version__

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE")
PACKAGES = ("click", "tqdm", "rich")
TRAINING_PRODUCT = (32, 384, 1536)  # a step in time of the default model: (B, H) by (H, 4 H)
_LARGE_PRODUCTS = (2048, 1024, 512)  # edges; the first that is quick enough is measured
_LARGE_SECONDS = 0.4  # what one large product may take
_VOCAB_SIZE = 65  # of the random text: that of English prose with its punctuation
_NUMPY_OWN = "scipy-openblas"  # the name of the OpenBLAS that NumPy's wheels bring
_OPTIMISED = ("openblas", "mkl", "accelerate", "blis", "armpl", "nvpl", "atlas", "essl")
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
class Blas:
    """The library that multiplies matrices.

    name, version  as NumPy was built, or as threadpoolctl finds it
    own            whether it came in NumPy's wheel
    kernel         the processor whose code the library chose; from threadpoolctl alone, like threads
    """

    name: str | None
    version: str | None
    own: bool
    kernel: str | None
    threads: int | None


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
    speed: Speed
    parameters: int
    parameter_bytes: int
    variables: dict[str, str | None]
    packages: dict[str, str | None]


def look(seconds: float = 1.0) -> Machine:
    """Return the facts; what is measured takes about twice these seconds."""
    load = _load()  # before this process adds to it
    config = ModelConfig(_VOCAB_SIZE)
    sizes = [int(np.prod(shape)) for shape in model.param_shapes(config).values()]
    return Machine(
        charrnn=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        processor=_processor(),
        features=_features(),
        cores=cores(),
        all_cores=os.cpu_count() or cores(),
        load=load,
        memory=_memory(),
        numpy=np.__version__,
        blas=blas(),
        speed=speed(seconds),
        parameters=sum(sizes),
        parameter_bytes=sum(sizes) * np.dtype(config.dtype).itemsize,
        variables={name: os.environ.get(name) for name in VARIABLES},
        packages={name: _version(name) for name in PACKAGES},
    )


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return int(os.process_cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blas() -> Blas:
    """Return what NumPy says of its BLAS, and what threadpoolctl finds loaded."""
    built = _numpy_config("Build Dependencies").get("blas", {})
    name = built.get("name") if built.get("found") else None
    version, own = built.get("version"), name is not None and name.startswith(_NUMPY_OWN)
    loaded: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # it reads the process's memory map, which not every system shows
        from threadpoolctl import threadpool_info

        loaded = next((pool for pool in threadpool_info() if pool.get("user_api") == "blas"), {})
    return Blas(
        name=name if own else loaded.get("internal_api") or name,
        version=(version if own else loaded.get("version") or version) or None,
        own=own,
        kernel=loaded.get("architecture"),
        threads=loaded.get("num_threads"),
    )


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
    return 2e-9 * rows * inner * columns / _median_seconds(lambda: np.matmul(a, b, out=out), seconds)


def _chars_per_second(seconds: float) -> float:
    """Return the rate of training the default model with default settings, evaluations and saves not counted."""
    rng = np.random.default_rng(0)
    model_config, config = ModelConfig(_VOCAB_SIZE), TrainConfig(steps=1, seed=0)
    ids = rng.integers(_VOCAB_SIZE, size=100 * config.batch_size * config.seq_len)
    stream = Stream(ids, config.batch_size, config.seq_len, config.seed)
    training = Training(model_config, config, stream, ids[:0])
    state, optimizer, scratch = training.begin(model.init_params(model_config, rng)), training.optimizer(), Scratch()
    one = _median_seconds(lambda: train_step(training, optimizer, 0.0, state, stream[state.step], scratch), seconds)
    return config.batch_size * config.seq_len / one


def _median_seconds(work: Callable[[], object], seconds: float) -> float:
    """Return the median time of the calls that fit in, at least one, after a first that does not count."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return max(1e-9, float(np.median(times[1:])))


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
    if variable == "OPENBLAS_NUM_THREADS" and library.kernel in ("Haswell", "Zen") and _is_amd_with_avx512(machine):
        kernels = f"OpenBLAS uses its {library.kernel} kernels on an AMD processor that has AVX-512."
        chosen = machine.variables.get("OPENBLAS_CORETYPE")
        if not chosen:
            found.append(
                f"{kernels} Set OPENBLAS_CORETYPE=SKYLAKEX before starting, and keep it if the rates here rise; newer "
                "NumPy wheels choose by themselves."
            )
        elif chosen.lower() == library.kernel.lower():
            found.append(f"{kernels} Unset OPENBLAS_CORETYPE={chosen}, and leave it so if the rates here rise.")
    known = any(name in (library.name or "").lower() for name in _OPTIMISED)
    if not known and not busy and machine.speed.large_gflops < _UNOPTIMISED_GFLOPS:
        found.append(
            f"Matrix products run at {machine.speed.large_gflops:.1f} GFLOP/s, and NumPy names no optimised BLAS. "
            "NumPy's wheel brings one: pip install --force-reinstall numpy."
        )
    return found


def _is_amd_with_avx512(machine: Machine) -> bool:
    return "AMD" in (machine.processor or "") and "AVX-512" in machine.features


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


def _numpy_config(section: str) -> dict[str, Any]:
    """Return a section of what NumPy tells of its build."""
    config: Any = np.show_config(mode="dicts")
    return dict((config or {}).get(section, {}))


def _features() -> tuple[str, ...]:
    """Return those features of the processor that matter for products and that NumPy found."""
    extensions = _numpy_config("SIMD Extensions")
    found = {*extensions.get("baseline", ()), *extensions.get("found", ())}
    return tuple(name for name, words in _FEATURES.items() if words & found)


def _processor() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or None


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
