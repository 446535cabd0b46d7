"""Copies of this process that are killed at a chosen moment.

The process must have no threads: they would not be copied.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")  # on the disk


def in_a_process(do: Callable[[], None], seconds: float | None = None) -> int:
    """The exit status of a copy of this process, negative for a signal.

    Args:
      do: what it does.
      seconds: after which it is killed; None: it is not.
    """
    child = os.fork()
    if child == 0:
        try:
            do()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def count_steps(folder: Path, killed_before: int = 0) -> Callable[[], int]:
    """Counts what this process does on the disk: a file opened in the folder, renamed
    and so on; kills it before a step, from 1 on. Gives what tells the count."""
    count = 0

    def watch(event: str, args: tuple) -> None:
        nonlocal count
        # Other files that are opened are modules.
        if event in STEPS and (event != "open" or str(folder) in str(args[0])):
            count += 1
            if count == killed_before:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return lambda: count
