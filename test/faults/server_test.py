"""Whom kill -9 reaches: `python3 server_test.py` prints what failed."""

from __future__ import annotations

import os
import signal
import sys
from typing import Iterable

from server import kill_child


def child(work: bool) -> int:
    """The pid of a child that works until it is killed, or has ended without having been asked."""
    pid = os.fork()
    if pid == 0:
        while work:
            signal.pause()
        os._exit(0)
    if not work:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def problems() -> Iterable[str]:
    ended = child(work=False)
    if kill_child(os.getpid(), ended):
        yield "a process that had ended by itself was taken for killed"
    if os.waitpid(ended, 0)[1] != 0:
        yield "a process that had ended did not keep its status"
    if kill_child(os.getpid(), ended):
        yield "a process that is gone was taken for killed"

    working = child(work=True)
    if kill_child(os.getppid(), working):
        yield "somebody else's process was killed"
    if not kill_child(os.getpid(), working):
        yield "a working process was not killed"
        os.kill(working, signal.SIGKILL)
    if os.WTERMSIG(os.waitpid(working, 0)[1]) != signal.SIGKILL:
        yield "a process was ended by something else than kill -9"


def main() -> int:
    found = list(problems())
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
