"""The memory of a process, in one of its own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of Linux")

# Faults of a page, and bytes of the process, while blocks come and go.
PROGRAM = """
import ctypes, os, resource, sys
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

def mapped():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

before = mapped()
memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
block = libc.malloc(memory // 16 + 2**20)
held = mapped() - before
libc.free(block)
print(faults, held > memory // 16, mapped() - before)
"""


def faults_and_sizes(how: str, **env: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_a_freed_block_is_used_again_but_a_large_one_goes_back_to_the_kernel():
    faults, was_held, left = faults_and_sizes("keep")
    assert int(faults) < 100
    assert was_held == "True"
    assert int(left) <= 0


@pytest.mark.parametrize(
    ("how", "env"), [("leave", {}), ("keep", {"GLIBC_TUNABLES": ""})]
)
def test_without_it_or_with_tunables_of_ones_own_malloc_is_as_it_was(how, env):
    faults, *_ = faults_and_sizes(how, **env)
    assert int(faults) > 10 * 2**26 // 2**21  # a fault a page, of 2 MiB at most
