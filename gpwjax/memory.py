"""The memory of computations on a CPU."""

import ctypes
import os
import sys

# Parameters of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
FOR_SMALL_BLOCKS = 2**30


def keep_memory() -> None:
    """Keeps the memory of a step for the next one: call it before JAX's first
    computation, once for the whole process.

    XLA:CPU asks for the memory of a step anew in each step, and glibc would have the
    kernel hand it out page by page, which takes longer than many a step. After the call
    freed memory stays in its heap.

    Small blocks get a free GiB at its start, of which only what is used is resident:
    they would be cut from a large block that is free between two steps, and the next
    step would need another one.

    JAX computes in the calling thread then, and no longer beside it, if all arguments
    are there: wait for those that are still being copied (`jax.block_until_ready`), or
    another thread computes this step and all that follow. The main thread's heap is the
    only one without a bound. XLA's own threads keep theirs, for what they ask for
    inside of a product stays in their core's cache there: with one heap for all of them
    an answer takes 1.3 times as long.

    Does nothing where malloc is not glibc's, or where $GLIBC_TUNABLES sets it already;
    changes nothing of an accelerator's memory.
    """
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # musl has none
        return
    # Imported here, since JAX takes a second and not every program computes.
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    libc.mallopt(M_MMAP_MAX, 0)  # nor do large blocks go back by themselves
    libc.mallopt(M_TRIM_THRESHOLD, -1)  # never
    libc.mallopt(M_TOP_PAD, 2**26)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    free = libc.malloc(ctypes.c_size_t(FOR_SMALL_BLOCKS))
    libc.malloc(2**20)  # keeps it from becoming a part of what is behind it
    libc.free(free)
