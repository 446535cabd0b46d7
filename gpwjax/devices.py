"""JAX as our programs use it: its devices, its cache, its numbers."""

import jax

from gpwjax.compilation import use_compilation_cache


class NoDevicesError(Exception):
    """There are none of the platform that $JAX_PLATFORMS names."""


def start_jax() -> None:
    """Turns on the cache of compiled programs and finds the devices.

    Raises:
      NoDevicesError: it finds none; the message is one line.
    """
    # $JAX_ENABLE_X64 is for other programs: nets and their states are of 32 bits.
    jax.config.update("jax_enable_x64", False)
    use_compilation_cache()
    try:
        jax.devices()
    # An AssertionError where nothing for such a platform is installed.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0] or "nothing for them is installed"
        raise NoDevicesError(
            f"JAX finds no devices of JAX_PLATFORMS={jax.config.jax_platforms}: "
            f"{reason}. Leave that out for those that there are"
        ) from error
