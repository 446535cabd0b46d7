"""How programs are compiled, and the cache of those that are."""

import os

import jax

from gpwjax.places import cache_folder

# Options of `jax.jit` with which XLA:CPU may change the order of a sum, as it must to
# compute several of its terms at once: a train step has long ones for the gradients of
# depthwise kernels. NaN, infinity, division and functions stay exact. They concern no
# other platform.
QUICK_SUMS = {
    "xla_cpu_enable_fast_math": True,
    "xla_cpu_fast_math_honor_nans": True,
    "xla_cpu_fast_math_honor_infs": True,
    "xla_cpu_fast_math_honor_division": True,
    "xla_cpu_fast_math_honor_functions": True,
}


def use_compilation_cache() -> None:
    """Turns on JAX's cache on disk, in the user's cache folder, if there can be one,
    unless $JAX_COMPILATION_CACHE_DIR names another.

    Each number of cores has its own: XLA:CPU compiles for the cores that the process
    may use, and JAX would take the program of one core for two.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and (folder := cache_folder()):
        folder = folder / "xla" / f"{usable_cores()}-cores"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def usable_cores() -> int:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
