"""How costs grow: with keys held, waiters for a key, locks to show, and names in the directory."""

from __future__ import annotations

import random
import statistics
import time
from typing import Any, Callable

from handover import Queue, hand_overs
from measure import Figure, Series, Target, alternate, ratio
from report import Cell, Plot, Section, Table
from servers import PRELOADED, Server

HELD = (1, 10, 100, 1_000, 10_000, 50_000)
FURTHER = range(50_001, 80_001)  # numbers of keys that are locked beside those held
WAITERS = (1, 10, 50, 100, 200)
SHOWN = (10, 100, 1_000, 10_000, 50_000)
DIRECTORY_SIZE = 16_384
FILLED = (1, 50, 100, 200, 400)  # keys ever locked, in % of that

# Keys one by one, in any order, are what check_order reports once.
CHECKED = {**PRELOADED, "concurrency_safe.check_order": "log"}
OURS = "cs_lock(key)"
BUILT_IN = "pg_advisory_xact_lock(hashtextextended(key, 0))"

# Nanoseconds of one lock of many in a statement: without the rest of the statement, and without
# the way from and to the client.
COST = """
    CREATE FUNCTION cost_{name}(keys text[]) RETURNS float8 LANGUAGE plpgsql AS $$
    DECLARE
        began timestamptz := clock_timestamp();
        rest interval;
    BEGIN
        PERFORM count(length(key)) FROM unnest(keys) AS key;
        rest := clock_timestamp() - began;
        began := clock_timestamp();
        PERFORM count({lock}) FROM unnest(keys) AS key;
        RETURN extract(epoch FROM clock_timestamp() - began - rest) * 1e9 / cardinality(keys);
    END $$"""

Grid = dict[tuple[str, int], Series]  # by way and size


def session(server: Server) -> Any:
    """A cursor of a new session that may lock as much as it likes."""
    cursor = server.connect().cursor()
    cursor.execute("LOAD 'concurrency_safe'")
    cursor.execute("SET concurrency_safe.max_keys_per_session = -1")
    cursor.execute("SET plan_cache_mode = force_generic_plan")  # planned once, then measured
    return cursor


def prepare(server: Server) -> Server:
    server.run(COST.format(name="ours", lock=OURS))
    server.run(COST.format(name="built_in", lock=BUILT_IN))
    return server


def value(cursor: Any, statement: str, *arguments: Any) -> Any:
    cursor.execute(statement, arguments or None)
    return cursor.fetchone()[0]


def keys(first: int, last: int) -> str:
    """A subquery."""
    return f"(SELECT 'withdraw:user:' || i AS key FROM generate_series({first}, {last}) AS i) AS k"


def measured(title: str, ways: dict[tuple[str, int], Callable[[], Figure]], turns: int) -> Grid:
    named = {f"{way}, {size:,}": measure for (way, size), measure in ways.items()}
    return dict(zip(ways, alternate(title, named, turns).values()))


def cell(series: Series) -> Cell:
    return series.wrong or series.median


def lines(grid: Grid) -> dict[str, list[tuple[Cell, float]]]:
    """Of a plot: the medians of what was right."""
    drawn: dict[str, list[tuple[Cell, float]]] = {}
    for (way, size), series in grid.items():
        points = drawn.setdefault(way, [])
        if not series.wrong:
            points.append((size, series.median))
    return drawn


def drawn(numbers: range, count: int) -> str:
    """An array of keys, as a literal."""
    return "{" + ",".join(f"withdraw:user:{i}" for i in random.sample(numbers, count)) + "}"


def one_more(cursor: Any, name: str, held: int) -> Callable[[], Figure]:
    """Nanoseconds of a lock in a transaction that holds so many: 2,000 further ones at random."""
    lock = OURS if name == "ours" else BUILT_IN

    def measure() -> Figure:
        times = []
        for _ in range(1 + 5):
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT count({lock}) FROM {keys(1, held)}")
            times.append(value(cursor, f"SELECT cost_{name}(%s::text[])", drawn(FURTHER, 2000)))
            if len(times) == 1:  # not measured, but looked at
                count = value(cursor, "SELECT count(*) FROM pg_locks"
                                      " WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            cursor.execute("COMMIT")
        return Figure(min(times[1:]),  # a statement is shorter than a time slice
                      "" if count == held + 2000 else f"{count} locks")

    return measure


def held_keys(checked: Server, plain: Server, turns: int, section: Section) -> None:
    ways = {
        "cs_lock, preloaded, all checks": (checked, "ours"),
        "cs_lock, not preloaded": (plain, "ours"),
        "built-in": (plain, "built_in"),
    }
    grid = measured("keys held", {
        (way, held): one_more(session(server), name, held)
        for way, (server, name) in ways.items() for held in HELD
    }, turns)
    table = Table("Nanoseconds of one more lock, by keys that the session holds already",
                  ("keys held", *ways))
    table.rows += [(held, *(cell(grid[way, held]) for way in ways)) for held in HELD]
    growths = {way: ratio(grid[way, 10_000], grid[way, 1]).median for way in ways}
    table.rows.append(("10,000 against 1", *(f"{growth:.2f} ×" for growth in growths.values())))
    section.tables.append(table)
    section.plots.append(Plot("growth_held", "One more lock", "keys held", "ns", lines(grid),
                              log_x=True))
    for way in list(ways)[:2]:
        right = not grid[way, 1].wrong and not grid[way, 10_000].wrong
        section.targets.append(Target(
            f"{way}: one more lock with 10,000 keys held less than 1.5 × that with 1, measured "
            f"{growths[way]:.2f} (built-in {growths['built-in']:.2f})",
            right and growths[way] < 1.5, "the lock manager grows; the built-in lock grows, too"))


def waiters(checked: Server, plain: Server, plan: Any, section: Section) -> None:
    ours = "cs_lock('stock:ABC', 60000)"
    preloaded, bare = Queue(checked, max(WAITERS)), Queue(plain, max(WAITERS))
    ways = {
        "cs_lock, preloaded, all checks": (preloaded, ours),
        "cs_lock, not preloaded": (bare, ours),
        "built-in": (bare, "pg_advisory_xact_lock(42)"),
    }
    grid = measured("waiters", {
        (way, count): hand_overs(queue, lock, count, 30 if plan.quick else 200)
        for count in WAITERS for way, (queue, lock) in ways.items()
    }, plan.turns)
    preloaded.close()
    bare.close()
    table = Table("Microseconds from the holder's last statement before its commit to the grant of "
                  "the next in the queue: median (99 %)", ("waiters at first", *ways))
    for count in WAITERS:
        table.rows.append((count, *(
            grid[way, count].wrong or
            f"{grid[way, count].median:.0f} ({grid[way, count].median_of('99 %'):.0f})"
            for way in ways)))
    section.tables.append(table)
    section.plots.append(Plot("growth_waiters", "Hand-over of a key", "waiters at first", "µs",
                              lines(grid), log_x=True))


def view(holder: Any, reader: Any, name: str, locks: int) -> Callable[[], Figure]:
    """Milliseconds of counting its rows."""
    count = f"SELECT count(*) FROM {name}"
    times = max(1, min(20, 10_000 // locks))

    def measure() -> Figure:
        holder.execute("BEGIN")
        holder.execute(f"SELECT count({OURS}) FROM {keys(1, locks)}")
        shown = value(reader, "SELECT count(*) FROM cs_locks WHERE key ~ '^withdraw:user:[0-9]+$'")
        reader.execute(count)
        start = time.perf_counter()
        for _ in range(times):
            reader.execute(count)
        milliseconds = (time.perf_counter() - start) * 1000 / times
        holder.execute("COMMIT")
        return Figure(milliseconds, "" if shown == locks else f"{shown} of {locks} names")

    return measure


def views(server: Server, turns: int, section: Section) -> None:
    holder, reader = session(server), session(server)
    names = ("cs_locks", "pg_locks")
    grid = measured("views", {(name, locks): view(holder, reader, name, locks)
                              for locks in SHOWN for name in names}, turns)
    table = Table("Milliseconds of SELECT count(*), all locks shown with their names",
                  ("locks held", *names, "ratio (lowest to highest)"))
    for locks in SHOWN:
        ours, theirs = (grid[name, locks] for name in names)
        table.rows.append((locks, cell(ours), cell(theirs), str(ratio(ours, theirs))))
    section.tables.append(table)
    section.plots.append(Plot("growth_views", "SELECT count(*)", "locks held", "ms", lines(grid),
                              log_x=True, log_y=True))


def directory_server(filled: int) -> Server:
    """One in which so many keys were locked; the directory forgets them with its server only."""
    server = prepare(Server(
        f"directory{filled}", **CHECKED, max_connections="20", max_locks_per_transaction="5000",
        shared_buffers="16MB", **{"concurrency_safe.directory_size": str(DIRECTORY_SIZE)},
    ).start())
    cursor = session(server)
    cursor.execute(f"SELECT count({OURS}) FROM {keys(1, DIRECTORY_SIZE * filled // 100)}")
    return server


def random_key(cursor: Any, name: str, filled: int, rounds: int) -> Callable[[], Figure]:
    """Nanoseconds of a lock on one of so many keys: 100 at random in each transaction."""
    names = range(1, DIRECTORY_SIZE * filled // 100 + 1)

    def counts() -> tuple[int, int, int]:
        cursor.execute("SELECT acquired, evicted, unnamed FROM cs_stat")
        return cursor.fetchone()

    def measure() -> Figure:
        before, times = counts(), []
        for _ in range(rounds):
            cursor.execute("BEGIN")
            times.append(value(cursor, f"SELECT cost_{name}(%s::text[])", drawn(names, 100)))
            cursor.execute("COMMIT")
        acquired, evicted, unnamed = (now - then for now, then in zip(counts(), before))
        expected = 100 * rounds if name == "ours" else 0
        return Figure(statistics.median(times),
                      "" if acquired == expected else f"{acquired} locks",
                      {"evicted": evicted / rounds, "unnamed": unnamed / rounds})

    measure()  # once not measured: until the directory is as full as it stays
    return measure


def names_shown(server: Server) -> Table:
    """With twice as many keys held as there are places."""
    cursor = session(server)
    cursor.execute("BEGIN")
    cursor.execute(f"SELECT count({OURS}) FROM {keys(1, 2 * DIRECTORY_SIZE)}")
    cursor.execute("SELECT count(*), count(key) FROM cs_locks")
    table = Table("Keys held at once with a full directory", ("places", "held", "shown by name"))
    table.rows.append((DIRECTORY_SIZE, *cursor.fetchone()))
    cursor.execute("COMMIT")
    return table


def directory(turns: int, rounds: int, section: Section) -> None:
    servers = {filled: directory_server(filled) for filled in FILLED}
    ways = {"cs_lock": "ours", "built-in": "built_in"}
    grid = measured("directory in %", {
        (way, filled): random_key(session(server), name, filled, rounds)
        for filled, server in servers.items() for way, name in ways.items()
    }, turns)
    shown = names_shown(servers[200])
    for server in servers.values():
        server.stop()
    table = Table("Nanoseconds of a lock on a random one of the keys in use, by their number in % "
                  f"of concurrency_safe.directory_size ({DIRECTORY_SIZE:,})",
                  ("keys in %", "keys", *ways, "ratio (lowest to highest)",
                   "names evicted, % of locks", "nameless, % of locks"))
    for filled in FILLED:
        ours, built_in = (grid[way, filled] for way in ways)
        table.rows.append((filled, DIRECTORY_SIZE * filled // 100, cell(ours), cell(built_in),
                           str(ratio(ours, built_in)),
                           ours.median_of("evicted"), ours.median_of("unnamed")))
    section.tables += [table, shown]


def run(plan: Any) -> Section:
    section = Section(
        "Growth with keys held, waiters and names",
        "One more lock: a transaction locks its keys and then 2,000 others, drawn from 30,000; "
        "timed in the server, less the same statement without locks, the best of five. "
        "What grows is PostgreSQL's lock manager, whose hash tables outgrow the caches: so the "
        "built-in lock grows, too. "
        "Hand-over: sessions queue up for one key, and each notes the time when it gets it and "
        "before it commits; no client has a part in it. Views: another session holds the locks, "
        "and the way from and to the client counts. Directory: every key was locked once before, "
        "then each transaction locks 100 of them at random.")
    room = {"max_locks_per_transaction": "300"}  # × 250: as many locks as are taken, and some
    checked = prepare(Server("checked", **CHECKED, **room).start())
    plain = prepare(Server("plain", **room).start())
    held_keys(checked, plain, plan.turns, section)
    waiters(checked, plain, plan, section)
    views(checked, plan.turns, section)
    checked.stop()
    plain.stop()
    directory(plan.turns, 100 if plan.quick else 400, section)
    return section
