"""One row that all clients want: read, computed with, and written, once at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Optional

from clients import Client, Open, drive, placed
from hot_ways import (
    BUILT_IN, CALL_RUN, CALL_TRANSFER, LIMIT, OURS, POLLED_IN_FUNCTION, SETUP, called, locked,
    polled, redis_locked, row_locked, unlocked,
)
from measure import Figure, Series, Target, alternate, jain, percentile, ratio
from report import Plot, Section, Table
from servers import PRELOADED, Redis, Server

START = 1_000_000_000

NAIVE = "no lock"
ADVISORY = "built-in: pg_advisory_xact_lock"
LOCK = "cs_lock, not preloaded"
LOCK_CHECKED = "cs_lock, preloaded, all checks"
RUN = "cs_run, not preloaded"
RUN_CHECKED = "cs_run, preloaded, all checks"
TRANSFER = "cs_transfer, preloaded, all checks"
ROW = "row lock: SELECT FOR UPDATE"
SERIALIZABLE = "SERIALIZABLE, the client retries"
POLL_50 = "the client polls every 50 ms"
POLL_10 = "a PL/pgSQL function polls every 10 ms"
REDIS = "Redis lock, polled every 10 ms"
OURS_ALL = (LOCK, LOCK_CHECKED, RUN, RUN_CHECKED, TRANSFER)

HOW = f"""Each client, a process of its own that uses psycopg2 over a socket, changes the same row
again and again. All but `cs_run` and `cs_transfer` send `BEGIN`, the lock, `SELECT balance`, an
`UPDATE` with the balance that the client computed, and `COMMIT` as separate statements, prepared;
`FOR UPDATE` reads and locks with one. `cs_transfer` writes two rows, both hot, and takes both
keys. After each measurement the balance must be lower by what was done: else updates were lost.

The milliseconds are those from asking for the lock to having it; those marked "all" are of the
whole work, where the lock cannot be told from it. They are of all requests, also those that gave
up: all ways do after {LIMIT:g} seconds, and that is what counts as a timeout. Retries are repeated
transactions, or questions in vain of those who poll. Fairness is Jain's index over what the
clients got done: 1 if all the same, 1/n if one of n did everything. The longest wait is that of
all turns, the rest are medians. A single client and its server share a core, as with single calls.
Those who poll are measured for longer where there are rivals, so that a wait can last until its
limit, in turns of their own with the built-in lock, to which their ratio refers; a wait under way
at the end is waited for.

Who polls does more per second: nobody is woken up, and who has just released the lock takes it
again at once, with all that it needs in its core's cache. The others pay for that with their
waits."""


@dataclass
class Way:
    server: Server
    connect: Open
    whole: bool = False  # the time to acquire is that of the whole work
    polls: bool = False
    transfers: bool = False  # to the second account

    def wrong(self, done: int) -> str:
        """What the balances say of the work."""
        lost = self._balance(1) - (START - done)
        if lost:
            return f"**{lost:,} of {done:,} updates lost**"
        wanted = START + done if self.transfers else START
        return "" if self._balance(2) == wanted else "**the second balance is wrong**"

    def _balance(self, account: int) -> int:
        return self.server.run(f"SELECT balance FROM account WHERE id = {account}")

    def timed(self, clients: int, seconds: float) -> Callable[[], Figure]:
        def measure() -> Figure:
            self.server.run(f"UPDATE account SET balance = {START}")
            self.server.run("VACUUM account")
            result = drive(clients, seconds, self.connect)
            done = sum(client.done for client in result)
            return Figure(sum(client.in_time for client in result) / seconds, self.wrong(done),
                          more_of(result))

        return measure


def more_of(clients: list[Client]) -> dict[str, float]:
    waits = [wait * 1000 for client in clients for wait in client.waits]
    return {
        "p50": percentile(waits, 0.50),
        "p99": percentile(waits, 0.99),
        "max": max(waits),
        "fairness": jain([client.in_time for client in clients]),
        "timeouts": sum(client.timeouts for client in clients),
        "retries": sum(client.retries for client in clients),
    }


def ways_of(plain: Server, checked: Server, redis: Optional[Redis]) -> dict[str, Way]:
    ways = {
        NAIVE: Way(plain, unlocked(plain, "BEGIN"), whole=True),
        ADVISORY: Way(plain, locked(plain, BUILT_IN)),
        LOCK: Way(plain, locked(plain, OURS)),
        LOCK_CHECKED: Way(checked, locked(checked, OURS)),
        RUN: Way(plain, called(plain, CALL_RUN, attempts=1), whole=True),
        RUN_CHECKED: Way(checked, called(checked, CALL_RUN, attempts=1), whole=True),
        TRANSFER: Way(checked, called(checked, CALL_TRANSFER), whole=True, transfers=True),
        ROW: Way(plain, row_locked(plain)),
        SERIALIZABLE: Way(plain, unlocked(plain, "BEGIN ISOLATION LEVEL SERIALIZABLE"), whole=True),
        POLL_50: Way(plain, polled(plain, 0.05), polls=True),
        POLL_10: Way(plain, locked(plain, POLLED_IN_FUNCTION), polls=True),
    }
    if redis:
        ways[REDIS] = Way(plain, redis_locked(plain, redis, 0.01), polls=True)
    return ways


@dataclass
class Result:
    """Of one number of clients, by way."""

    series: dict[str, Series]
    built_in: dict[str, Series]  # what the built-in lock did in the same turns


def measured(plan: Any, ways: dict[str, Way], clients: int) -> Result:
    """Many short turns compare best; who polls needs long ones, and has the built-in lock for
    company there, too."""
    seconds = plan.seconds / (8 if clients < 16 else 4)
    turns = plan.turns * (2 if clients < 16 else 1)
    title = f"one hot key, {count_of(clients)}"
    fast = alternate(title, {name: way.timed(clients, seconds) for name, way in ways.items()
                             if not way.polls}, turns)
    long = plan.seconds if clients > 1 else seconds
    slow = alternate(f"{title}, polling", {
        ADVISORY: ways[ADVISORY].timed(clients, 2 * seconds),
        **{name: way.timed(clients, long) for name, way in ways.items() if way.polls},
    }, max(2, plan.turns // 2))
    return Result({**slow, **fast},
                  {name: (slow if way.polls else fast)[ADVISORY] for name, way in ways.items()})


def count_of(clients: int) -> str:
    return f"{clients} client{'s'[:clients > 1]}"


def total(series: Series, name: str) -> int:
    return int(sum(figure.more[name] for figure in series.figures))


def table_of(clients: int, ways: dict[str, Way], result: Result,
             without_redis: Optional[str]) -> Table:
    table = Table(count_of(clients),
                  ("way", "per second", "ratio to built-in (lowest to highest)", "ms, median",
                   "99 %", "longest", "fairness", "timeouts", "retries"))
    for name, way in ways.items():
        one = result.series[name]
        if one.wrong:
            table.rows.append((name, one.wrong) + 7 * ("",))
            continue
        table.rows.append((
            name, one.median, str(ratio(one, result.built_in[name])),
            f"{one.median_of('p50'):.3g}{' all'[:4 * way.whole]}", one.median_of("p99"),
            one.max_of("max"), f"{one.median_of('fairness'):.4f}", total(one, "timeouts"),
            total(one, "retries")))
    if without_redis:
        table.rows.append((REDIS, f"not measured: {without_redis}") + 7 * ("",))
    return table


def right(*series: Series) -> bool:
    return not any(one.wrong for one in series)


def one_call_table(results: dict[int, Result]) -> Table:
    table = Table("Times as many per second in one call as with `cs_lock` from the client",
                  ("way", *(count_of(clients) for clients in results)))
    for call, lock in ((RUN, LOCK), (RUN_CHECKED, LOCK_CHECKED), (TRANSFER, LOCK_CHECKED)):
        table.rows.append((call, *(
            one_call_cell(result.series[call], result.series[lock])
            for result in results.values())))
    return table


def one_call_cell(call: Series, lock: Series) -> str:
    return str(ratio(call, lock)) if right(call, lock) else "wrong"


def targets_of(results: dict[int, Result]) -> list[Target]:
    targets = []
    for clients, result in results.items():
        for name in (LOCK, LOCK_CHECKED):
            one = result.series[name]
            against = ratio(one, result.built_in[name])
            targets.append(Target(
                f"{name}, {count_of(clients)}: at least 0.97 × built-in, measured "
                f"{against.median:.2f}", right(one) and against.median >= 0.97,
                "the limit lies within the spread of the turns" if against.high >= 0.97 else ""))
    at_16 = results[16].series
    for call, lock in ((RUN, LOCK), (RUN_CHECKED, LOCK_CHECKED)):
        against = ratio(at_16[call], at_16[lock])
        targets.append(Target(
            f"{call}, 16 clients: at least 2 × cs_lock from the client, measured "
            f"{against.median:.2f}", right(at_16[call], at_16[lock]) and against.median >= 2))

    ours = [result.series[name] for result in results.values() for name in OURS_ALL]
    fairness = min(one.median_of("fairness") for one in ours)
    targets.append(Target(f"fairness of ours: at least 0.99, measured {fairness:.4f} or more",
                          fairness >= 0.99))
    for name in (LOCK, LOCK_CHECKED):
        longest = at_16[POLL_50].max_of("max")
        wait = at_16[name].median_of("p99")
        targets.append(Target(
            f"{name}, 16 clients: 99 % of waits at most 1/20 of the longest of polling every "
            f"50 ms ({longest:,.0f} ms), measured 1/{longest / wait:,.0f} ({wait:.3g} ms)",
            wait <= longest / 20))
    timeouts = sum(total(one, "timeouts") for one in ours)
    targets.append(Target(f"ours: no timeout, measured {timeouts}", timeouts == 0))
    return targets


def plots_of(results: dict[int, Result], ways: dict[str, Way]) -> list[Plot]:
    """Of the ways that were always right."""
    names = [name for name in ways
             if right(*(result.series[name] for result in results.values()))]

    def lines(value: Callable[[Series], float]) -> dict[str, list[tuple[Any, float]]]:
        return {name: [(clients, value(result.series[name])) for clients, result in results.items()]
                for name in names}

    return [
        Plot("hot-speed", "One hot key: done per second", "clients", "per second",
             lines(lambda one: one.median), log_x=True),
        Plot("hot-wait", "One hot key: 99 % had the lock (or, in one call, all) within",
             "clients", "ms", lines(lambda one: one.median_of("p99")), log_x=True, log_y=True),
    ]


def run(plan: Any) -> Section:
    plain = Server("plain").start()
    checked = Server("checked", **PRELOADED, **{"concurrency_safe.check_order": "error"}).start()
    for server in (plain, checked):
        server.run(SETUP)
    without_redis = Redis.missing()
    redis = None if without_redis else Redis().start()
    ways = ways_of(plain, checked, redis)
    results = {}
    for clients in (1, 16) if plan.quick else (1, 4, 16, 64):
        with placed(clients, plain, checked, *([redis] if redis else [])):
            results[clients] = measured(plan, ways, clients)
    if redis:
        redis.stop()
    for server in (plain, checked):
        server.stop()
    tables = [table_of(clients, ways, result, without_redis) for clients, result in results.items()]
    return Section("One hot key", HOW, [*tables, one_call_table(results)],
                   plots_of(results, ways), targets_of(results))
