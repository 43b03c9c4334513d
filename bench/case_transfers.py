"""Transfers among accounts: who is right, and how fast."""

from __future__ import annotations

import re
from typing import Any, Callable

from measure import Figure, Series, Target, alternate, ratio
from report import Plot, Section, Table
from servers import PRELOADED, PgbenchResult, Server

CLIENTS = 16
BALANCE = 1_000_000  # of each account at first; nobody runs out of money
CHECKED = {**PRELOADED, "concurrency_safe.check_order": "error"}

# In order of the ids, so that nobody deadlocks; {last} is below the number of accounts by one.
CHOOSE = r"""
\set from random(1, {accounts})
\set to (:from + random(1, {last})) % {accounts} + 1
\set amount random(1, 10)
"""
IN_ORDER = r"""
\set low least(:from, :to)
\set high greatest(:from, :to)
\set change case when :from < :to then -:amount else :amount end
"""

NAIVE = IN_ORDER + r"""
BEGIN;
SELECT balance AS low_balance FROM accounts WHERE id = :low \gset
SELECT balance AS high_balance FROM accounts WHERE id = :high \gset
UPDATE accounts SET balance = :low_balance::numeric + :change WHERE id = :low;
UPDATE accounts SET balance = :high_balance::numeric - :change WHERE id = :high;
COMMIT;
"""
ROW_LOCKS = r"""
BEGIN;
SELECT id, balance FROM accounts WHERE id IN (:from, :to) ORDER BY id FOR UPDATE;
UPDATE accounts SET balance = balance - :amount WHERE id = :from;
UPDATE accounts SET balance = balance + :amount WHERE id = :to;
COMMIT;
"""
SERIALIZABLE = IN_ORDER + r"""
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT id, balance FROM accounts WHERE id IN (:low, :high);
UPDATE accounts SET balance = balance + :change WHERE id = :low;
UPDATE accounts SET balance = balance - :change WHERE id = :high;
COMMIT;
"""
OURS = r"""
CALL cs_transfer('accounts', :from::text, :to::text, :amount);
"""

NAIVE_NAME = "read, compute, write"
ROW_LOCKS_NAME = "client: SELECT … FOR UPDATE, two UPDATEs"
SERIALIZABLE_NAME = "client: SERIALIZABLE, again on 40001"
OURS_NAME = "CALL cs_transfer"

# By the number of accounts, by way.
Results = dict[int, dict[str, Series]]


def refill(server: Server, accounts: int) -> None:
    """The same table for everybody, without what others left in it."""
    server.run("TRUNCATE accounts")
    server.run(f"INSERT INTO accounts SELECT i, {BALANCE} FROM generate_series(1, {accounts}) AS i")
    server.run("VACUUM (FREEZE, ANALYZE) accounts")


def wrong_balances(server: Server, accounts: int) -> str:
    """What happened to the money."""
    more = server.run(f"SELECT (sum(balance) - {BALANCE * accounts})::bigint FROM accounts")
    if more:
        return f"**wrong**: {abs(more):,} of money {'created' if more > 0 else 'lost'}"
    below = server.run("SELECT count(*) FROM accounts WHERE balance < 0")
    return f"**wrong**: {below} balances below 0" if below else ""


def said(result: PgbenchResult, pattern: str) -> int:
    """A number of pgbench's report, which older ones do not have."""
    match = re.search(rf"^{pattern}: ([0-9]+)", result.report, re.MULTILINE)
    return int(match.group(1)) if match else 0


def transferred(server: Server, script: str, accounts: int, seconds: float,
                *options: str) -> Callable[[], Figure]:
    """Transfers per second, and what had to be repeated for them."""
    choose = CHOOSE.format(accounts=accounts, last=accounts - 2)

    def measure() -> Figure:
        refill(server, accounts)
        result = server.pgbench(choose + script, CLIENTS, seconds, *options)
        retries = said(result, "total number of retries")
        return Figure(result.tps, wrong_balances(server, accounts), {
            "retries": retries / max(1, result.processed),
            "failed": said(result, "number of failed transactions"),
        })

    return measure


def table_of(results: Results) -> Table:
    table = Table(f"Transfers per second, {CLIENTS} clients, and as a ratio to row locks of the "
                  "client in the same turn",
                  ("accounts", "way", "transfers per second", "ratio (lowest to highest)",
                   "retries for a transfer", "failed"))
    for accounts, ways in results.items():
        for way, series in ways.items():
            speed: Any = series.wrong or series.median
            against = "" if series.wrong else str(ratio(series, ways[ROW_LOCKS_NAME]))
            if way == NAIVE_NAME and not series.wrong:
                speed, against = "wrong, though no money was lost by luck", ""
            table.rows.append((accounts, way, speed, against, series.median_of("retries"),
                               sum(int(figure.more["failed"]) for figure in series.figures)))
    return table


def plot_of(results: Results) -> Plot:
    lines: dict[str, list[Any]] = {}
    for accounts, ways in results.items():
        for way, series in ways.items():
            if way != NAIVE_NAME and not series.wrong:
                lines.setdefault(way, []).append((accounts, series.median))
    return Plot("transfers", f"Transfers, {CLIENTS} clients", "accounts", "transfers per second",
                lines, log_x=True)


def target_of(ways: dict[str, Series], accounts: int, least: float, reference: str) -> Target:
    text = f"{OURS_NAME}, {accounts:,} accounts: at least {least:.2f} × {reference}"
    if reference not in ways:
        return Target(text, None)
    against = ratio(ways[OURS_NAME], ways[reference])
    return Target(f"{text}, measured {against.median:.2f}",
                  not ways[OURS_NAME].wrong and against.median >= least)


def run(plan: Any) -> Section:
    plain = Server("plain").start()
    checked = Server("checked", **CHECKED).start()
    for server in (plain, checked):
        server.run("CREATE TABLE accounts (id integer PRIMARY KEY, balance numeric NOT NULL)")
    retries = int(plain.run("SHOW server_version_num")) >= 150000
    seconds = plan.seconds / 2

    results: Results = {}
    for accounts in (10, 1_000) if plan.quick else (10, 1_000, 100_000):
        ways = {
            NAIVE_NAME: transferred(plain, NAIVE, accounts, seconds),
            ROW_LOCKS_NAME: transferred(plain, ROW_LOCKS, accounts, seconds),
            SERIALIZABLE_NAME: transferred(plain, SERIALIZABLE, accounts, seconds, "--max-tries=0"),
            OURS_NAME: transferred(checked, OURS, accounts, seconds),
        }
        if not retries:
            del ways[SERIALIZABLE_NAME]
        results[accounts] = alternate(f"transfers, {accounts:,} accounts", ways, plan.turns)

    how = ("Each transfer is a transaction that moves a random amount between two accounts; "
           "prepared statements, sent by pgbench, on a local socket. The table is new before each "
           "measurement; after it the sum of the money has to be what it was, and else that is "
           "said instead of a speed. SERIALIZABLE and the one without locks write in order of the "
           "ids, or they would deadlock; pgbench repeats what fails with 40001. The ways of the "
           "client are measured on a server that has not loaded this extension, cs_transfer on "
           "one with it preloaded and all checks on.")
    if not retries:
        how += "\n\nSERIALIZABLE is not measured: this pgbench cannot repeat transactions."
    return Section(f"Transfers, {CLIENTS} clients", how, [table_of(results)], [plot_of(results)], [
        target_of(results[1_000], 1_000, 2.0, ROW_LOCKS_NAME),
        target_of(results[10], 10, 2.5, ROW_LOCKS_NAME),
        target_of(results[10], 10, 3.0, SERIALIZABLE_NAME),
    ])
