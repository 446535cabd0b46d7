"""The cache of compiled programs."""

import os

import jax

from gpwjax.places import cache_folder


def use_compilation_cache() -> None:
    """Turns on JAX's cache on disk, in the user's cache folder, if there can be one,
    unless $JAX_COMPILATION_CACHE_DIR names another."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and (folder := cache_folder()):
        jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
