"""The memory of computations on a CPU."""

import ctypes
import os
import sys

# Parameters of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MOST = 2**31 - 1  # that mallopt takes


def keep_memory() -> None:
    """Keeps the memory of a step for the next one: call it before JAX's first
    computation, once for the whole process.

    XLA:CPU asks for the memory of a step anew in each step, and glibc would have the
    kernel hand it out page by page, which takes longer than many a step. After the call
    freed memory stays in its heap, but for blocks of more than a sixteenth of the
    machine's memory (or 2 GiB), which go back to the kernel: a small block where such a
    one was keeps it from being used again, so that up to six of them (seen with
    DenseNet) would be there at a time.

    JAX computes in the calling thread then, and no longer beside it. The main thread's
    heap is the only one without a bound. XLA's own threads keep theirs, for what they
    ask for inside of a product stays in their core's cache there: with one heap for all
    of them an answer takes 1.3 times as long.

    Does nothing where malloc is not glibc's, or where $GLIBC_TUNABLES sets it already;
    changes nothing of an accelerator's memory.
    """
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return
    # Imported here, since JAX takes a second and not every program computes.
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    mallopt(M_MMAP_THRESHOLD, min(memory // 16, MOST))
    mallopt(M_TRIM_THRESHOLD, -1)  # never
    mallopt(M_TOP_PAD, 2**26)
