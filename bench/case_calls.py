"""Single calls that take one of 100,000 keys and release it at once."""

from __future__ import annotations

from typing import Any, Callable

from clients import Open, drive, placed
from measure import Figure, Series, Target, alternate, ratio
from pairs import KEYS, TAKE, by_psycopg2, by_redis_py, redis_locks_left, redis_not_held
from report import Plot, Section, Table
from servers import PRELOADED, Redis, Server

# What else loads the library in a session is the first call, which would be measured. A role for
# it, because the built-in way has to be without.
LOADED = """
    CREATE ROLE loaded SUPERUSER LOGIN;
    ALTER ROLE loaded SET session_preload_libraries = 'concurrency_safe'"""
CHECKED = {**PRELOADED, "concurrency_safe.check_order": "error"}

# :id is pgbench's, and so would be what follows a colon in the key. The planner computes chr().
KEY = "'withdraw' || chr(58) || :id"
# A statement that does nothing but lock is what check_autocommit reports: so all do a bit more.
FLOOR = f"SELECT {KEY}, 1"
BUILT_IN = f"SELECT pg_advisory_xact_lock(hashtextextended({KEY}, 0)), 1"
OURS = f"SELECT cs_lock({KEY}), 1"

BUILT_IN_NAME = "built-in pg_advisory_xact_lock(hashtextextended(key, 0))"
PLAIN_NAME = "cs_lock(key), not preloaded"
CHECKED_NAME = "cs_lock(key), preloaded, all checks"
ONE_TRIP_NAME = "cs_lock(key), one statement and transaction"
REDIS_NAME = "Redis: SET NX PX, EVALSHA"

WARM_UP = 20  # pairs of a client, which are not measured

AT_LEAST_BUILT_IN = 0.97
WHY = ("a call executes 1 to 3 % more instructions than with the built-in lock, for defaults, the "
       "note on what is held, callbacks, names and checks: see where the instructions of a lock go")
AT_LEAST_REDIS = 2.0

# By the number of clients, by way.
Results = dict[int, dict[str, Series]]


def locks_left(server: Server) -> str:
    left = server.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    return f"{left} locks left" if left else ""


def not_held(server: Server, statements: str, locks: int) -> str:
    """What is wrong with the locks that they hold before their transaction ends."""
    held = server.run(f"""
        BEGIN; {statements};
        SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()""")
    return "" if held == locks else f"{held} locks held"


def touch_all(server: Server) -> None:
    """Every key once, so that the memory of the locks and of the keys' names is in use."""
    for lock in ("pg_advisory_xact_lock(hashtextextended(key, 0))", "cs_lock(key)"):
        server.run(f"""
            LOAD 'concurrency_safe';
            SET concurrency_safe.max_keys_per_session = -1;
            SET concurrency_safe.check_order = off;
            SELECT count({lock}) FROM
                (SELECT 'withdraw:' || i AS key FROM generate_series(1, {KEYS}) AS i) AS keys""")


def called(server: Server, statement: str, locks: int, clients: int, seconds: float,
           *options: str) -> Callable[[], Figure]:
    """Statements per second, each its own transaction."""
    wrong = not_held(server, statement.replace(":id", "'7'"), locks)
    script = f"\\set id random(1, {KEYS})\n{statement};\n"

    def measure() -> Figure:
        result = server.pgbench(script, clients, seconds, *options)
        return Figure(result.tps, wrong or locks_left(server))

    return measure


def clients_of(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"


def table_of(what: str, results: Results, reference: str) -> Table:
    """Of each way and number of clients how many, and the ratio to the reference."""
    columns = ["way"]
    for clients in results:
        columns += [clients_of(clients), "ratio (lowest to highest)"]
    table = Table(f"{what} per second, and as a ratio to {reference} in the same turn", columns)
    for way in next(iter(results.values())):
        row: list[Any] = [way]
        for series in results.values():
            row += [series[way].wrong or series[way].median,
                    str(ratio(series[way], series[reference]))]
        table.rows.append(row)
    return table


def plot_of(name: str, title: str, y_label: str, results: Results) -> Plot:
    lines: dict[str, list[Any]] = {}
    for clients, series in results.items():
        for way, one in series.items():
            if not one.wrong:
                lines.setdefault(way, []).append((clients, one.median))
    return Plot(name, title, "clients", y_label, lines, log_x=True)


def target_of(way: str, least: float, reference: str, results: Results, why: str = "") -> Target:
    """At each number of clients."""
    against = {clients: ratio(series[way], series[reference]).median
               for clients, series in results.items()}
    wrong = any(series[way].wrong for series in results.values())
    said = ", ".join(f"{value:.2f} with {clients_of(clients)}"
                     for clients, value in against.items())
    return Target(f"{way}: at least {least:.2f} × {reference}; measured {said}",
                  not wrong and min(against.values()) >= least, why)


def run(plan: Any) -> Section:
    plain = Server("plain").start()
    plain.run(LOADED)
    checked = Server("checked", **CHECKED).start()
    touch_all(plain)
    touch_all(checked)
    counts = (1, 8) if plan.quick else (1, 2, 8, 32)
    # What the machine does beside lasts longer than a second: so many short turns.
    turns, seconds = (plan.turns, 1) if plan.quick else (2 * plan.turns, plan.seconds / 4)

    results: Results = {}
    for clients in counts:
        with placed(clients, plain, checked):
            results[clients] = alternate(f"single calls, {clients_of(clients)}", {
                "no lock: SELECT key, 1": called(plain, FLOOR, 0, clients, seconds),
                BUILT_IN_NAME: called(plain, BUILT_IN, 1, clients, seconds),
                PLAIN_NAME: called(plain, OURS, 1, clients, seconds, "-U", "loaded"),
                CHECKED_NAME: called(checked, OURS, 1, clients, seconds),
            }, turns)
    section = Section(
        "Single calls over 100,000 keys",
        "Each call locks a random key and is a transaction of its own, so the release counts, too: "
        "prepared statements, sent by pgbench. All keys were locked once before. "
        "That a call holds its lock was seen in "
        "`pg_locks`, and that none was left after each measurement. "
        "A single client and its server share a core: on two, a wake-up costs more than a call.",
        [table_of("Calls", results, BUILT_IN_NAME)],
        [plot_of("calls", "Single calls over 100,000 keys", "calls per second", results)],
        [target_of(way, AT_LEAST_BUILT_IN, BUILT_IN_NAME, results, WHY)
         for way in (PLAIN_NAME, CHECKED_NAME)])
    plain.stop()
    add_redis(section, checked, counts, plan)
    return section


def add_redis(section: Section, server: Server, counts: tuple[int, ...], plan: Any) -> None:
    """Pairs of lock and unlock, beside Redis."""
    missing = Redis.missing()
    if missing:
        section.how += f"\n\nNot measured beside Redis: {missing}."
        section.targets.append(Target(
            f"{ONE_TRIP_NAME}: at least {AT_LEAST_REDIS:.2f} × {REDIS_NAME}", None))
        return
    seconds = 0.25 if plan.quick else 0.5
    redis = Redis().start()
    wrong = not_held(server, f"PREPARE take(text) AS {TAKE}; EXECUTE take('withdraw:7')", 1)
    redis_wrong = redis_not_held(redis)
    ways = {
        REDIS_NAME: by_redis_py(redis),
        ONE_TRIP_NAME: by_psycopg2(server, "EXECUTE take('{key}')"),
        "BEGIN and cs_lock(key), COMMIT": by_psycopg2(
            server, "BEGIN; EXECUTE take('{key}')", "COMMIT"),
    }

    def paired(connect: Open, way: str, clients: int) -> Callable[[], Figure]:
        def measure() -> Figure:
            found = drive(clients, seconds, connect, WARM_UP)
            rate = sum(client.in_time for client in found) / seconds
            if REDIS_NAME in way:
                return Figure(rate, redis_wrong or redis_locks_left(redis))
            return Figure(rate, wrong or locks_left(server))

        return measure

    results: Results = {}
    for clients in counts:
        with placed(clients, server, redis):
            results[clients] = alternate(f"pairs beside Redis, {clients_of(clients)}", {
                way: paired(connect, way, clients) for way, connect in ways.items()
            }, plan.turns)

    section.how += (
        " Pairs of lock and unlock beside Redis are sent by the same kind of client, a Python "
        "process each, with the usual libraries, psycopg2 and redis-py. "
        "Redis needs two round trips to lock and unlock; here the end of the transaction unlocks, "
        "with the statement or with COMMIT. "
        "Redis writes nothing to disk, and its lock ends by the clock.")
    section.tables.append(table_of("Pairs by psycopg2 and redis-py", results, REDIS_NAME))
    section.plots.append(
        plot_of("calls_redis", "Lock and unlock of 100,000 keys", "pairs per second", results))
    section.targets.append(target_of(ONE_TRIP_NAME, AT_LEAST_REDIS, REDIS_NAME, results))
