"""Processes: where they run, and clients that do not wait for another's interpreter."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from typing import Any, Callable, Iterator

WARM_UP = 20  # calls, which are not measured: a new session first fills its caches

# What a process does over and over; made in the process itself, from its number.
Prepare = Callable[[int], Callable[[], object]]


@contextlib.contextmanager
def placed(clients: int, *servers: Any) -> Iterator[None]:
    """Keeps a single client and what the servers start for it on one core.

    These two never work at the same time, and the scheduler puts them on one core or on two: there
    a wake-up takes several times as long, and the figures would tell which it was.
    """
    everywhere = os.sched_getaffinity(0)
    pids = [0, *(server.process.pid for server in servers)] if clients == 1 else []
    for pid in pids:
        os.sched_setaffinity(pid, {min(everywhere)})
    try:
        yield
    finally:
        for pid in pids:
            os.sched_setaffinity(pid, everywhere)


def rate_of(clients: int, seconds: float, prepare: Prepare) -> float:
    """Calls per second of so many processes that begin together."""
    # The forked know all that we know, and leave without running our exit handlers.
    fork = multiprocessing.get_context("fork")
    begin = fork.Barrier(clients)
    rates = fork.SimpleQueue()

    def client(number: int) -> None:
        try:
            call = prepare(number)
            for _ in range(WARM_UP):
                call()
            begin.wait(60)
            rates.put(_rate(call, seconds))
        except Exception as error:  # pylint: disable=broad-except
            begin.abort()
            rates.put(f"{type(error).__name__}: {error}")

    processes = [fork.Process(target=client, args=(number,)) for number in range(clients)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    results = []
    while not rates.empty():
        results.append(rates.get())
    failures = [result for result in results if isinstance(result, str)]
    if failures or len(results) < clients:
        raise RuntimeError("\n".join(failures) or "a client process died")
    return sum(results)


def _rate(call: Callable[[], object], seconds: float) -> float:
    calls = 0
    begin = now = time.perf_counter()
    while now < begin + seconds:
        call()
        calls += 1
        now = time.perf_counter()
    return calls / (now - begin)
