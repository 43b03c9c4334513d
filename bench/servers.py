"""Private servers of the benchmark: PostgreSQL, and Redis where it is installed.

They are children of this process, listen on a socket in its folder alone, and end with it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import time
from typing import Any, Optional

import psycopg2

PG_BIN = pathlib.Path(os.environ.get("BENCH_PG_BIN", "."))
FOLDER = pathlib.Path(os.environ.get("BENCH_FOLDER", "."))
EXTENSION_SETTINGS = os.environ.get("BENCH_EXTENSION_SETTINGS", "")

# Nothing is measured of the disk: a flush takes as long here as it takes elsewhere.
COMMON_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "autovacuum": "off",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "max_connections": "250",
    "max_locks_per_transaction": "4000",
    # Nothing that is measured makes a mistake that a check reports: at error it would fail.
    "concurrency_safe.check_autocommit": "error",
    "concurrency_safe.check_snapshot": "error",
}
PRELOADED = {"shared_preload_libraries": "concurrency_safe"}

RUNNING = contextlib.ExitStack()  # its close() stops them
atexit.register(RUNNING.close)


def text_of(command: list[Any], **options: Any) -> str:
    """The output of a command that must not fail."""
    done = subprocess.run(
        [str(part) for part in command], check=False, text=True, capture_output=True, **options
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


class PgbenchResult:
    """What pgbench said of one run."""

    def __init__(self, report: str) -> None:
        self.report = report
        self.tps = float(self._find(r"^tps = ([0-9.]+)"))
        self.processed = int(self._find(r"actually processed: ([0-9]+)"))
        self.milliseconds = float(self._find(r"latency average = ([0-9.]+) ms"))

    def _find(self, pattern: str) -> str:
        match = re.search(pattern, self.report, re.MULTILINE)
        if match is None:
            raise RuntimeError(f"pgbench did not say {pattern}:\n{self.report}")
        return match.group(1)


class Server:
    """A PostgreSQL server with the extension in the database bench."""

    def __init__(self, name: str, **settings: str) -> None:
        self.name = name
        self.data = FOLDER / f"{name}.data"
        self.socket = FOLDER / f"{name}.socket"
        self.settings = {**COMMON_SETTINGS, **settings}
        self.process: Optional[subprocess.Popen[bytes]] = None

    def create(self) -> Server:
        """Its files alone."""
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.socket, ignore_errors=True)
        self.socket.mkdir(mode=0o700)
        shutil.copytree(self._new_cluster(), self.data)
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(EXTENSION_SETTINGS + "\n")
            for name, value in {**self.settings, "unix_socket_directories": self.socket}.items():
                file.write(f"{name} = '{value}'\n")
        return self

    def single(self, statements: list[str], *tool: Any) -> str:
        """Runs them, a line each, in a server that is one process, under a tool; what it said."""
        return text_of([*tool, PG_BIN / "postgres", "--single", "-D", self.data, "postgres"],
                       input="".join(f"{statement}\n" for statement in statements))

    def start(self) -> Server:
        self.create()
        with open(FOLDER / f"{self.name}.log", "wb") as log:
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(
                [PG_BIN / "postgres", "-D", self.data], stdout=log, stderr=log
            )
        RUNNING.callback(self.stop)
        self._wait()
        self.run("CREATE DATABASE bench", database="postgres")
        self.run("CREATE EXTENSION concurrency_safe")
        return self

    @staticmethod
    def _new_cluster() -> pathlib.Path:
        """An empty one, to be copied: initdb takes longer than all the rest of a start."""
        cluster = FOLDER / "new.data"
        if not cluster.exists():
            text_of([PG_BIN / "initdb", "--no-sync", "--no-locale", "-E", "UTF8", "-A", "trust",
                     "-U", "postgres", "-D", cluster])
        return cluster

    def _wait(self) -> None:
        for _ in range(600):
            try:
                self.connect(database="postgres").close()
                return
            except psycopg2.OperationalError:
                time.sleep(0.1)
        raise RuntimeError((FOLDER / f"{self.name}.log").read_text(encoding="utf-8"))

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(2)  # SIGINT: fast
            self.process.wait()
            self.process = None
            shutil.rmtree(self.data, ignore_errors=True)

    def connect(self, database: str = "bench", **parameters: str) -> Any:
        """A connection in autocommit mode: BEGIN and COMMIT are where the reader sees them."""
        connection = psycopg2.connect(
            host=str(self.socket), user="postgres", dbname=database, **parameters
        )
        connection.autocommit = True
        return connection

    def run(self, sql: str, database: str = "bench") -> Any:
        """The first value of the last statement, in a session of its own."""
        connection = self.connect(database)
        try:
            cursor = connection.cursor()
            cursor.execute(sql)
            return cursor.fetchone()[0] if cursor.description else None
        finally:
            connection.close()

    def pgbench(self, script: str, clients: int, seconds: float, *options: str) -> PgbenchResult:
        """Runs a script, prepared. Colons before names are pgbench's: write keys without."""
        file = FOLDER / f"{self.name}.pgbench"
        file.write_text(script, encoding="utf-8")
        return PgbenchResult(
            text_of([PG_BIN / "pgbench", "-h", self.socket, "-U", "postgres", "-n",
                     "-M", "prepared", "-c", clients, "-j", min(clients, os.cpu_count() or 1),
                     "-T", max(1, round(seconds)), "-f", file, *options, "bench"], cwd=FOLDER)
        )


class Redis:
    """A Redis server that keeps nothing on disk, as locks in it are used."""

    def __init__(self) -> None:
        self.path = FOLDER / "redis.sock"
        self.process: Optional[subprocess.Popen[bytes]] = None

    @staticmethod
    def missing() -> Optional[str]:
        """What is missing to measure it, if anything."""
        if shutil.which("redis-server") is None:
            return "redis-server is not installed"
        try:
            __import__("redis")
        except ImportError:
            return "the Python module redis is not installed"
        return None

    def start(self) -> Redis:
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.path, "--save", "",
             "--appendonly", "no", "--daemonize", "no", "--dir", FOLDER],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        RUNNING.callback(self.stop)
        for _ in range(100):
            if self.path.exists():
                return self
            time.sleep(0.1)
        raise RuntimeError("Redis did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def connect(self) -> Any:
        redis = __import__("redis")
        return redis.Redis(unix_socket_path=str(self.path))
