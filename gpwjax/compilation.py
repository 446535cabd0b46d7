"""The cache of compiled programs."""

import os

import jax

from gpwjax.places import cache_folder


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
