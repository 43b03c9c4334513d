"""The file of a history: how recorder.cpp lays it out, making one, reading one."""

from __future__ import annotations

import mmap
import pathlib
import struct
from enum import IntEnum
from typing import Iterator, NamedTuple

MAGIC = b"history1"
RECORDS_AT = 4096
NEXT_AT, GRANTS_AT, ERRORS_AT = 64, 192, 256
LAYOUT = struct.Struct("<BBBBIIIqq")
BATCH = 4096  # records that are unpacked at once


class Kind(IntEnum):
    """What a record tells; recorder.cpp has the same list and says more."""

    UNFILLED = 0
    SERVER_START = 1
    SESSION = 2
    GRANT = 3
    REFUSAL = 4
    RELEASE = 5
    RELEASED = 6
    RELEASE_ALL = 7
    RELEASED_ALL = 8
    HELD_MODE = 9
    COMMIT_SUB = 10
    ABORT_SUB = 11
    END = 12
    PREPARE = 13
    FINISH_PREPARED = 14
    SESSION_END = 15
    PERMIT = 16
    LEASE_ASKED = 17
    LEASE = 18
    RENEWED = 19
    LEASE_END = 20
    CHECKED = 21
    ERROR = 22
    PROMOTED = 23
    SURVIVOR = 24
    FINISH = 25


class Record(NamedTuple):
    """One record, in the order of the file."""

    kind: int
    mode: int = 0
    scope: int = 0
    level: int = 0
    session: int = 0
    key: int = 0
    extra: int = 0
    a: int = 0
    b: int = 0


TRANSACTION, SESSION = 0, 1
MODES = ("none", "IS", "IX", "S", "SIX", "X")


def number_of(key: str) -> int:
    """What stands for a key in the history: FNV-1a of its name."""
    number = 2166136261
    for byte in key.encode():
        number = (number ^ byte) * 16777619 & 0xFFFFFFFF
    return number


def create(path: pathlib.Path, capacity: int) -> None:
    """A history with room for that many records, of which the disk sees only what is written."""
    with open(path, "wb") as file:
        file.write(MAGIC + struct.pack("<Q", capacity))
        file.truncate(RECORDS_AT + capacity * LAYOUT.size)


class History:
    """A history that may still be written."""

    def __init__(self, path: pathlib.Path) -> None:
        with open(path, "rb") as file:
            self.memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        if self.memory[:8] != MAGIC:
            raise ValueError(f"{path} is not a history")
        self.capacity = self._number("<Q", 8)

    def _number(self, layout: str, offset: int) -> int:
        return int(struct.unpack_from(layout, self.memory, offset)[0])

    def written(self) -> int:
        return self._number("<Q", NEXT_AT)

    def grants(self) -> int:
        return self._number("<Q", GRANTS_AT)

    def errors(self) -> int:
        """Errors that the workload caught, and timeouts of a try."""
        return self._number("<Q", ERRORS_AT)

    def records(self) -> Iterator[tuple[int, ...]]:
        """All of them as plain tuples, of which there may be millions."""
        written = self.written()
        if written > self.capacity:
            raise ValueError(f"{written} records, but there is room for {self.capacity}")
        for first in range(0, written, BATCH):
            start = RECORDS_AT + first * LAYOUT.size
            end = RECORDS_AT + min(first + BATCH, written) * LAYOUT.size
            yield from LAYOUT.iter_unpack(self.memory[start:end])

    def close(self) -> None:
        self.memory.close()
