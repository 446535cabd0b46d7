"""Programs measured in turns, so that what else the machine does meets all alike."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

Quartiles = dict[str, float]  # of the milliseconds of a program
Times = dict[str, Quartiles]  # of each program
UNMEASURED = 2  # rounds
PAUSE = 0.02  # seconds before a program, for the threads of the one before to sleep


def interleaved(
    programs: Mapping[str, Callable[[], Any]], repeats: int, before: int = 0
) -> Times:
    """Wall-clock times of programs that return when they are done.

    All run one after the other, `repeats` times and, before that, twice unmeasured.

    Args:
      before: how often a program runs unmeasured before each measurement, so that its
        own threads are awake and its own data are in the caches.

    Returns:
      The median of each, and the quartiles below and above.
    """
    seconds = {name: [] for name in programs}
    for _ in tqdm(range(UNMEASURED + repeats), unit="round"):
        for name, program in programs.items():
            time.sleep(PAUSE)
            for _ in range(before):
                program()
            begun = time.perf_counter()
            program()
            seconds[name].append(time.perf_counter() - begun)
    return {name: in_milliseconds(of[UNMEASURED:]) for name, of in seconds.items()}


def in_milliseconds(seconds: list[float]) -> Quartiles:
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75]) * 1000
    return {"median": median, "low": low, "high": high}
