"""The devices on which JAX computes."""

import jax


class NoDevicesError(Exception):
    """There are none of the platform that $JAX_PLATFORMS names."""


def check_devices() -> None:
    """Has JAX find its devices.

    Raises:
      NoDevicesError: it finds none; the message is one line.
    """
    try:
        jax.devices()
    # An AssertionError where nothing for such a platform is installed.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0] or "nothing for them is installed"
        raise NoDevicesError(
            f"JAX finds no devices of JAX_PLATFORMS={jax.config.jax_platforms}: "
            f"{reason}. Leave that out for those that there are"
        ) from error
