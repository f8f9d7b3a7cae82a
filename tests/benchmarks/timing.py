"""Times alternatives in turns, so that whatever else the machine does meets all of them alike."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

PAUSE = 0.01  # seconds; worker threads of the one before go to sleep meanwhile
LIMIT = 20.0  # seconds in all, after which no new round begins
FEWEST = 3


class Times(NamedTuple):
    """Seconds of one call."""

    least: float
    median: float


def interleave(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, warm: int = 1, pause: float = PAUSE
) -> dict[str, Times]:
    """Runs A B C A B C ...; each call must return only when its work is done.

    Ends early, but not before the third round, where the machine is slow.
    """
    for _ in range(warm):
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    collects = gc.isenabled()
    begin = time.perf_counter()
    try:
        for i in range(rounds):
            if i >= FEWEST and time.perf_counter() - begin > LIMIT:
                break
            for name, call in calls.items():
                gc.collect()
                gc.disable()
                time.sleep(pause)
                start = time.perf_counter()
                kept = call()
                seconds[name].append(time.perf_counter() - start)
                del kept  # freeing is not part of the call
    finally:
        if collects:
            gc.enable()
    return {name: Times(min(s), statistics.median(s)) for name, s in seconds.items()}
