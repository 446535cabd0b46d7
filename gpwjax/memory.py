"""The memory of computations on a CPU."""

import ctypes
import os
import sys

# Parameters of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
MOST = 2**31 - 1  # that mallopt takes


def keep_memory() -> None:
    """Keeps the memory of a step for the next one: call it before JAX's first
    computation, once for the whole process.

    XLA:CPU asks for the memory of a step anew in each step, and glibc would have the
    kernel hand it out page by page, which takes longer than many a step. After the call
    freed memory stays in one heap, but for blocks of more than a sixteenth of the
    machine's memory (or 2 GiB), which go back to the kernel: a small block where such a
    one was keeps it from being used again, so that up to six of them (seen with
    DenseNet) would be there at a time.

    Does nothing where malloc is not glibc's, or where $GLIBC_TUNABLES sets it already;
    changes nothing of an accelerator's memory.
    """
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    mallopt(M_ARENA_MAX, 1)
    mallopt(M_MMAP_THRESHOLD, min(memory // 16, MOST))
    mallopt(M_TRIM_THRESHOLD, -1)  # never
    mallopt(M_TOP_PAD, 2**26)
