"""The memory of a process, in one of its own, and what computes in it."""

import subprocess
import sys

import numpy as np
import pytest

from train.batches import spread_rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of Linux")

# Faults of a page while a block comes and goes, and whether a large one finds its
# place again that was free while small ones came.
PROGRAM = """
import ctypes, resource, sys
from gpwjax.memory import keep_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def use(size):
    block = libc.malloc(size)
    libc.memset(block, 1, size)
    libc.free(block)

if sys.argv[1] == "keep":
    keep_memory()
use(2**26)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use(2**26)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

large = 3 * 2**30
places = set()
for _ in range(10):
    place = libc.malloc(large)
    behind = libc.malloc(2**21)
    libc.free(place)
    between = [libc.malloc(2**21) for _ in range(10)]
    places.add(place)
print(faults, len(places))
"""


def faults_and_places(how: str, **env: str) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    faults, places = map(int, done.stdout.split())
    return faults, places


def test_freed_blocks_are_used_again_and_no_large_one_is_cut_by_small_ones():
    faults, places = faults_and_places("keep")
    assert faults < 100
    assert places == 1


@pytest.mark.parametrize(
    ("how", "env"), [("leave", {}), ("keep", {"GLIBC_TUNABLES": ""})]
)
def test_without_it_or_with_tunables_of_ones_own_malloc_is_as_it_was(how, env):
    faults, _ = faults_and_places(how, **env)
    assert faults > 10 * 2**26 // 2**21  # a fault a page, of 2 MiB at most


def test_a_batch_is_there_before_its_step():
    """Or another thread would compute the step, in memory that is not kept."""
    images = np.zeros((64, 512, 512, 3), np.uint8)  # long to copy
    for _ in range(3):
        assert spread_rows(images, np.arange(64)).is_ready()
