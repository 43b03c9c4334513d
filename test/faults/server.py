"""Private servers with the extension and the recorder; they end with this process.

HISTORY_PG_BIN: PostgreSQL's programs, HISTORY_FOLDER: where servers may live,
HISTORY_EXTENSION_SETTINGS: lines with which a server finds the extension, HISTORY_RECORDER: the
recorder's library.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
from typing import Any, Optional

import psycopg2

import history

PG_BIN = pathlib.Path(os.environ.get("HISTORY_PG_BIN", "."))
FOLDER = pathlib.Path(os.environ.get("HISTORY_FOLDER", "."))
EXTENSION_SETTINGS = os.environ.get("HISTORY_EXTENSION_SETTINGS", "")
RECORDER = os.environ.get("HISTORY_RECORDER", "history_recorder")
SOURCES = pathlib.Path(__file__).parent

SETTINGS = {
    "shared_preload_libraries": f"concurrency_safe,{RECORDER}",
    "listen_addresses": "",
    # The machine does not fail here: what was written before a kill is read after it.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "max_prepared_transactions": "40",
    "max_locks_per_transaction": "256",
    "max_wal_size": "2GB",
    "shared_buffers": "64MB",
    "deadlock_timeout": "5ms",
    "log_min_messages": "log",
    "client_min_messages": "error",
    # Sessions lock in any order here, and calls of functions alone are on purpose.
    "concurrency_safe.default_timeout": "20ms",
    "concurrency_safe.check_order": "off",
    "concurrency_safe.check_autocommit": "off",
}
WAIT_SECONDS = 60.0

RUNNING = contextlib.ExitStack()  # its close() stops them
atexit.register(RUNNING.close)


def run(*command: Any) -> str:
    """The output of a program that must not fail."""
    done = subprocess.run([str(part) for part in command], check=False, text=True,
                          capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def state_of_child(parent: int, pid: int) -> str:
    """R, S, T, Z and so on as in proc(5); empty if it is none of its children, now."""
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, its_parent = status.rsplit(") ", 1)[1].split()[:2]
    return state if int(its_parent) == parent else ""


def kill_child(parent: int, pid: int) -> bool:
    """kill -9 of a child of a process; False if it had ended, or was ending, by itself.

    A signal also reaches a process that has ended and whose parent has not asked for its status,
    without any effect. One that was stopped first cannot end before it is killed.
    """
    if not state_of_child(parent, pid):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        while (state := state_of_child(parent, pid)) not in ("T", "Z", ""):
            time.sleep(0.0001)
        if state == "T":
            os.kill(pid, signal.SIGKILL)
            return True
    return False


class Server:
    """One server; its number tells it from others that write the same history."""

    def __init__(self, number: int, record: pathlib.Path) -> None:
        self.number = number
        self.record = record
        self.data = FOLDER / f"server{number}.data"
        self.socket = FOLDER / f"server{number}.socket"
        self.log = FOLDER / f"server{number}.log"
        self.process: Optional[subprocess.Popen[bytes]] = None
        RUNNING.callback(self.remove)

    def create(self) -> Server:
        """A new cluster with the extension, the recorder and the workload."""
        template = FOLDER / "new.data"
        if not template.exists():
            run(PG_BIN / "initdb", "--no-sync", "--no-locale", "-E", "UTF8", "-A", "trust",
                "-U", "postgres", "-D", template)
        shutil.copytree(template, self.data)
        self._configure()
        self.start()
        run(PG_BIN / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"recorder={RECORDER}",
            "-h", self.socket, "-U", "postgres", "-d", "postgres",
            "-c", "CREATE EXTENSION concurrency_safe",
            *(part for name in ("recorder", "workload", "canary")
              for part in ("-f", SOURCES / f"{name}.sql")))
        return self

    def standby_of(self, primary: Server) -> Server:
        run(PG_BIN / "pg_basebackup", "-h", primary.socket, "-U", "postgres", "-D", self.data,
            "--checkpoint=fast", "--no-sync", "-X", "stream", "-R")
        self._configure()
        self.start()
        return self

    def _configure(self) -> None:
        self.socket.mkdir(mode=0o700)
        mine = {"history.file": self.record, "history.server": self.number,
                "unix_socket_directories": self.socket}
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(EXTENSION_SETTINGS + "\n")
            for name, value in {**SETTINGS, **mine}.items():
                file.write(f"{name} = '{value}'\n")

    def start(self) -> None:
        with open(self.log, "ab") as log:
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen([PG_BIN / "postgres", "-D", self.data],
                                            stdout=log, stderr=log)
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Until it accepts connections, also after a crash."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self.connect("driver").close()
                return
            except psycopg2.OperationalError:
                if time.monotonic() > deadline or self.process is None or \
                        self.process.poll() is not None:
                    raise
                time.sleep(0.01)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: at once, but in order. SIGQUIT: an immediate stop."""
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            # A fast stop may hang in crash recovery.
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(WAIT_SECONDS)
        self.process = None

    def promote(self) -> None:
        self.value("SELECT pg_promote(true, 60)")

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.socket, ignore_errors=True)

    def connect(self, application: str, settings: str = "") -> Any:
        """A connection in autocommit mode: BEGIN and COMMIT are where the reader sees them."""
        connection = psycopg2.connect(host=str(self.socket), user="postgres", dbname="postgres",
                                      application_name=application, options=settings)
        connection.autocommit = True
        return connection

    def rows(self, sql: str, *args: Any) -> list[Any]:
        """What a query returns, in a session of its own."""
        connection = self.connect("driver")
        try:
            cursor = connection.cursor()
            cursor.execute(sql, args or None)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def value(self, sql: str, *args: Any) -> Any:
        return self.rows(sql, *args)[0][0]

    def postmaster_kb(self) -> int:
        """Private writable memory of the postmaster, from which all sessions are forked."""
        assert self.process is not None
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"^VmData:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found.group(1))

    def kill(self, pid: int) -> bool:
        """kill -9 of one of its processes; False if that had ended, or was ending, by itself."""
        assert self.process is not None
        return kill_child(self.process.pid, pid)

    def bad_lines(self) -> list[str]:
        """What must not be in the log."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        bad = re.compile(r"PANIC|TRAP|terminated by signal (?!9:)|could not find tuple|"
                         r"tuple (?:concurrently|already)|is in use|leaked|WARNING.*shared memory")
        return [line for line in text.splitlines() if bad.search(line)]


def new_history(name: str, capacity: int) -> pathlib.Path:
    path = FOLDER / f"{name}.history"
    history.create(path, capacity)
    return path
