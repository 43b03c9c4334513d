"""A copy of the sources that is built, installed and tested in a folder of its own.

The tests run as scripts/test.sh runs them, but one by one. What a test leaves behind, servers
of a test that hung or crashed above all, is stopped before the next one.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Iterator, Optional, Sequence, Union

from mutant_list import Test

PG_CONFIG = os.environ.get("MUTANTS_PG_CONFIG", "pg_config")
PG_BIN = pathlib.Path(os.environ.get("MUTANTS_PG_BIN", "."))

# Seconds until a command counts as one that hangs.
PATIENCE = 300

INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
FAILED_TEST = re.compile(r"^test (\S+) +\.\.\. FAILED|^not ok \d+ +[-+] (\S+)", re.MULTILINE)
FAILED_CHECK = re.compile(r"^not ok .*|^# +Failed test .*", re.MULTILINE)

UNIT_FLAGS = (
    "-std=c++20 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -pthread".split()
)

Argument = Union[str, pathlib.Path]


@dataclass
class Result:
    """How a test ended."""

    passed: bool
    seconds: float
    failed: str = ""  # the name of the test that failed first, where a whole suite ran
    hung: bool = False
    output: str = ""


class Workplace:
    """The folder holds source, install, and the configuration files of the servers."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.source = folder / "source"
        self.log = folder / "log"
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.patience = PATIENCE
        self.closed = False

    # --- commands ---------------------------------------------------------------

    def command(self, arguments: Sequence[Argument], **more: str) -> Optional[int]:
        """Runs a command with its output in the log. Its status; none if it took too long."""
        own = {"LC_ALL": "C.UTF-8", "TMPDIR": str(self.folder / "tmp")}
        if self.closed:
            raise SystemExit
        with self.log.open("ab") as log:
            process = self.process = subprocess.Popen(
                [str(argument) for argument in arguments],
                cwd=self.source,
                env={**os.environ, **own, **more},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            status: Optional[int] = process.wait(self.patience)
        except subprocess.TimeoutExpired:
            status = None
        self.stop()
        if self.closed:  # it did not end by itself, and says nothing
            raise SystemExit
        return status

    def stop(self) -> None:
        """Ends what the last command left: its processes, and servers in this folder."""
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for file in self.folder.rglob("postmaster.pid"):
            stop_server(file)

    def close(self) -> None:
        """No command runs or begins after this."""
        self.closed = True
        self.stop()

    def write(self, name: str, text: str) -> None:
        """Changes a source. What is built of it is built anew the next time, and nothing else."""
        file = self.source / name
        before = file.stat()
        file.write_text(text, encoding="utf-8")
        if file.suffix != ".hpp":
            return
        # The Makefile builds everything anew when a header looks changed.
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        # To PGXS objects are secondary files: without the library, too, they are made anew.
        (self.source / "concurrency_safe.so").unlink(missing_ok=True)
        for source in self.including({file.name}):
            source.with_suffix(".o").unlink(missing_ok=True)
            (self.folder / "unit" / f"{source.stem}.o").unlink(missing_ok=True)

    def including(self, headers: set[str]) -> list[pathlib.Path]:
        """The sources that include one of the headers, also by another one."""
        files = [*(self.source / "src").glob("*.[ch]pp"), *(self.source / "test/unit").glob("*.[ch]pp")]
        found = [file for file in files if headers & set(INCLUDE.findall(file.read_text()))]
        more = headers | {file.name for file in found if file.suffix == ".hpp"}
        if more != headers:
            return self.including(more)
        return [file for file in found if file.suffix == ".cpp"]

    def make(self, *arguments: str) -> bool:
        """make in the source folder, without the optimization across files."""
        command = ["make", "-s", f"PG_CONFIG={PG_CONFIG}", "with_llvm=no", "LTO="]
        return self.command([*command, *arguments]) == 0

    def build(self) -> bool:
        """Builds what has changed and installs it; the log tells why not."""
        self.log.write_bytes(b"")
        return self.make() and self.make("install", f"DESTDIR={self.folder / 'install'}")

    # --- tests ------------------------------------------------------------------

    def run(self, test: Test, patience: int = PATIENCE) -> Result:
        """Runs a test, or a whole suite, and looks at how it ended."""
        runs = {"unit": self.unit, "pgtap": self.pgtap, "tap": self.tap}
        started = time.monotonic()
        self.log.write_bytes(b"")
        self.patience = patience
        status = runs.get(test.suite, self.regress)(test)
        self.patience = PATIENCE
        output = self.log.read_text(encoding="utf-8", errors="replace")
        match = None if test.name else FAILED_TEST.search(output)
        return Result(
            passed=status == 0,
            seconds=time.monotonic() - started,
            failed="" if match is None else match.group(1) or match.group(2),
            hung=status is None,
            output=output,
        )

    def why(self, result: Result) -> str:
        """The first lines of a failure, for whoever reads it."""
        for folder in (".", "output_iso"):
            diffs = self.source / folder / "regression.diffs"
            if diffs.exists():
                lines = diffs.read_text(encoding="utf-8", errors="replace").splitlines()
                return "\n".join(line for line in lines if line[:1] in "+-")[:1500]
        return "\n".join(FAILED_CHECK.findall(result.output)[:6]) or result.output[-1500:]

    def installcheck(self, *arguments: str, **more: str) -> Optional[int]:
        """One of the suites of make installcheck."""
        (self.source / "regression.diffs").unlink(missing_ok=True)
        for leftover in ("output_iso", "tmp_check"):
            shutil.rmtree(self.source / leftover, ignore_errors=True)
        command = ["make", "installcheck", f"PG_CONFIG={PG_CONFIG}", "with_llvm=no", "LTO="]
        return self.command([*command, "ENCODING=UTF8", "NO_LOCALE=1", *arguments], **more)

    def regress(self, test: Test) -> Optional[int]:
        """A test of pg_regress or of the isolation tester."""
        kind, _, preloaded = test.suite.partition("-")
        config = self.folder / ("preloaded.conf" if preloaded else "extension.conf")
        name = {"regress": "REGRESS", "isolation": "ISOLATION"}[kind]
        other = {"regress": "ISOLATION=", "isolation": "REGRESS="}[kind]
        options = f"--temp-instance={self.folder / 'instance'} --temp-config={config}"
        arguments = [other, "TAP_TESTS=", f"EXTRA_REGRESS_OPTS={options}"]
        if test.name:
            arguments.append(f"{name}={test.name}")
        return self.installcheck(*arguments)

    def tap(self, test: Test) -> Optional[int]:
        """One of test/t."""
        return self.installcheck(
            "REGRESS=",
            "ISOLATION=",
            "PROVE_FLAGS=--verbose",
            f"PROVE_TESTS=test/t/{test.name}.pl",
            TEMP_CONFIG=str(self.folder / "checked.conf"),
        )

    def pgtap(self, test: Test) -> Optional[int]:
        """One of test/pgtap, on a server of its own."""
        data, socket = self.folder / "data", self.folder / "socket"
        shutil.rmtree(data, ignore_errors=True)
        socket.mkdir(exist_ok=True)
        options = ["--no-sync", "--no-locale", "-E", "UTF8", "-A", "trust", "-U", "postgres"]
        if self.command([PG_BIN / "initdb", *options, "-D", data]) != 0:
            return 1
        with (data / "postgresql.conf").open("a", encoding="utf-8") as config:
            config.write((self.folder / "preloaded.conf").read_text(encoding="utf-8"))
            config.write("fsync = off\nmax_prepared_transactions = 10\nlisten_addresses = ''\n")
            config.write(f"unix_socket_directories = '{socket}'\n")
        script = f"""
            trap 'pg_ctl -D "{data}" -m immediate -W stop' EXIT
            pg_ctl -w -D "{data}" -l "{self.folder / 'server.log'}" start &&
            psql -X -q -v ON_ERROR_STOP=1 -d postgres -c 'CREATE DATABASE pgtap' -c '\\c pgtap' \\
                -c 'CREATE EXTENSION pgtap' -c 'CREATE EXTENSION concurrency_safe' &&
            pg_prove --verbose -d pgtap test/pgtap/{test.name}.sql"""
        return self.command(
            ["bash", "-c", script],
            PATH=f"{PG_BIN}:{os.environ['PATH']}",
            PGHOST=str(socket),
            PGUSER="postgres",
        )

    def unit(self, test: Test) -> Optional[int]:
        """One of test/unit; only what has changed is compiled anew."""
        program = self.folder / "unit" / test.name
        program.parent.mkdir(exist_ok=True)
        files = [self.source / "src" / f"{name}.cpp" for name in self.pure()]
        files.append(self.source / "test/unit" / f"{test.name}_test.cpp")
        objects = [self.object_of(file) for file in files]
        if None in objects:
            return 1
        link = ["g++", *UNIT_FLAGS, "-o", program, *filter(None, objects)]
        if self.command(link) != 0:
            return 1
        return self.command([program], ASAN_OPTIONS="detect_leaks=0")

    def object_of(self, file: pathlib.Path) -> Optional[pathlib.Path]:
        """The object file of a source, compiled if that changed; none if it fails."""
        target = self.folder / "unit" / f"{file.stem}.o"
        if target.exists() and target.stat().st_mtime_ns > file.stat().st_mtime_ns:
            return target
        compile_it = ["g++", *UNIT_FLAGS, "-Isrc", "-c", "-o", target, file]
        return target if self.command(compile_it) == 0 else None

    def pure(self) -> list[str]:
        """The sources that know nothing of PostgreSQL, as scripts/test.sh lists them."""
        script = (self.source / "scripts/test.sh").read_text(encoding="utf-8")
        match = re.search(r"sources=\(([^)]*)\)", script)
        return [] if match is None else match.group(1).split()

    def tests_of(self, suite: str) -> Iterator[Test]:
        """A suite as it is run for all of its tests: at once, or one by one where they are slow."""
        files = {"unit": ("unit", "_test.cpp"), "pgtap": ("pgtap", ".sql"), "tap": ("t", ".pl")}
        if suite not in files:
            yield Test(suite)
            return
        folder, ending = files[suite]
        for file in sorted((self.source / "test" / folder).glob(f"*{ending}")):
            yield Test(suite, file.name.removesuffix(ending))


def stop_server(file: pathlib.Path) -> None:
    """Stops the server of a postmaster.pid at once, if there is still one in that folder."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int(file.read_text(encoding="utf-8").split()[0])
        for sign in [signal.SIGQUIT] * 100 + [signal.SIGKILL]:
            if os.readlink(f"/proc/{pid}/cwd") != str(file.parent):
                return
            os.kill(pid, sign)
            time.sleep(0.1)
