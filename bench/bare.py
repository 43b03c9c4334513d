"""The protocols of PostgreSQL and Redis by a bare socket: servers without their client libraries.

Only what the benchmark sends: short commands, one at a time, with short answers.
"""

from __future__ import annotations

import pathlib
import socket
import struct


def _connect(path: pathlib.Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


class BareRedis:
    """See https://redis.io/docs/latest/develop/reference/protocol-spec."""

    def __init__(self, path: pathlib.Path) -> None:
        self._socket = _connect(path)

    def answer_of(self, *words: bytes) -> bytes:
        """Of a command, without the line's end; long ones are not read."""
        lines = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self._socket.sendall(b"*%d\r\n%s" % (len(words), lines))
        answer = self._socket.recv(4096)
        while not answer.endswith(b"\r\n"):
            answer += self._more()
        return answer[:-2]

    def _more(self) -> bytes:
        data = self._socket.recv(4096)
        if not data:
            raise RuntimeError("Redis closed the connection")
        return data


class BarePostgres:
    """One prepared statement with one text parameter.

    See https://www.postgresql.org/docs/current/protocol-message-formats.html.
    """

    READY = b"Z\0\0\0\5I"  # and not in a transaction

    def __init__(self, path: pathlib.Path, user: str, database: str, statement: str) -> None:
        self._socket = _connect(path)
        self._exchange(self._message(b"", struct.pack(">i", 3 << 16) + b"\0".join(
            (b"user", user.encode(), b"database", database.encode(), b"\0"))))
        self._exchange(self._message(b"P", b"s\0" + statement.encode() + b"\0\0\0")
                       + self._message(b"S", b""))
        self._end = self._message(b"E", b"\0\0\0\0\0") + self._message(b"S", b"")

    def execute(self, value: bytes) -> None:
        bind = b"\0s\0\0\0\0\1" + struct.pack(">i", len(value)) + value + b"\0\0"
        answer = self._exchange(self._message(b"B", bind) + self._end)
        if not answer.startswith(b"2\0\0\0\4D"):  # bound, and a row at once, without a notice
            raise RuntimeError(answer.decode(errors="replace"))

    @staticmethod
    def _message(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack(">i", len(body) + 4) + body

    def _exchange(self, messages: bytes) -> bytes:
        self._socket.sendall(messages)
        answer = b""
        while not answer.endswith(self.READY):
            data = self._socket.recv(4096)
            if not data:
                raise RuntimeError(f"PostgreSQL closed the connection: {answer!r}")
            answer += data
        if answer.startswith(b"E"):
            raise RuntimeError(answer.decode(errors="replace"))
        return answer
