"""Client processes that do the same at the same time, each in a session of its own.

Processes, since the threads of one Python process run one at a time: the fairness of its own
lock would be measured.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Callable, Iterator

START_SECONDS = 60.0  # until all are connected
WARM_UP = 2  # times that the work is done before: libraries are loaded, plans are made


@dataclass
class Client:
    """What one client did."""

    done: int = 0  # in all, also to warm up and after the deadline
    in_time: int = 0  # of these between start and deadline
    timeouts: int = 0
    retries: int = 0
    waits: list[float] = field(default_factory=list)  # seconds to acquire, also those in vain


# Does the work once, and counts retries and waits in the client; False if it timed out.
Attempt = Callable[[Client], bool]
# Called in the client's process: connects.
Open = Callable[[], Attempt]


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


def drive(clients: int, seconds: float, connect: Open, warm_up: int = WARM_UP) -> list[Client]:
    """Starts all of them at once. What is under way at the deadline is finished and counted,
    else the longest waits would not be."""
    context = multiprocessing.get_context("fork")
    deadline = context.Value("d", 0.0, lock=False)

    def set_deadline() -> None:  # in the last client that is ready, before it lets all go
        deadline.value = time.monotonic() + seconds

    barrier = context.Barrier(clients, set_deadline, START_SECONDS)
    processes, results = [], []
    for _ in range(clients):
        result, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, daemon=True,
                                  args=(connect, warm_up, barrier, deadline, sender))
        process.start()
        sender.close()  # only the client has it now: if it dies, the parent reads an end
        processes.append(process)
        results.append(result)
    found = []
    try:
        while results:
            for result in wait(results):
                found.append(_received(result))
                results.remove(result)
        return found
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join()


def _received(result: Connection) -> Client:
    try:
        client = result.recv()
    except EOFError:
        client = "it ended without a result"
    if isinstance(client, Client):
        return client
    raise RuntimeError(f"a client failed:\n{client}")


def _work(connect: Open, warm_up: int, barrier: Any, deadline: Any, sender: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent's handler stops the servers
    try:
        attempt = connect()
        warm, client = Client(), Client()
        for _ in range(warm_up):
            warm.done += attempt(warm)
        client.done = warm.done
        barrier.wait()
        end = deadline.value
        now = time.monotonic()
        while now < end:
            done = attempt(client)
            now = time.monotonic()
            if done:
                client.done += 1
                client.in_time += now < end
            else:
                client.timeouts += 1
        sender.send(client)
    except Exception:  # pylint: disable=broad-exception-caught
        sender.send(traceback.format_exc())
