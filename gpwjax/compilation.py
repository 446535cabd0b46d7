"""The cache of compiled programs."""

import os

import jax


def use_compilation_cache() -> None:
    """Turns on JAX's cache on disk, in the user's cache folder unless
    $JAX_COMPILATION_CACHE_DIR names another."""
    # Not at the top: `import gpwjax` does without.
    import platformdirs

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = platformdirs.user_cache_path("gpwjax") / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
