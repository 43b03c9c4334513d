"""The phases in which processes are killed, servers stopped at once, and standbys promoted."""

from __future__ import annotations

import signal
import time
from typing import Any

import psycopg2

from history import Kind
from phases import CANARIES, PAUSE, Phase, finish_prepared
from server import WAIT_SECONDS, Server
from workers import Plan, crew_of


def kills(*arguments: Any) -> None:
    """kill -9 of those who hold, who wait, and who do neither."""
    phase = Phase("kills", *arguments)
    crew = crew_of(phase.server, Plan(phase.seed, keys=8), locks=5, leases=1,
                   canaries=CANARIES, bystanders=2)
    before = phase.server.postmaster_kb()
    for number in range(phase.sizes.kills):
        time.sleep(phase.random.uniform(0.02, 0.2))
        kill_one(phase, VICTIMS[number % len(VICTIMS)])
        if number % 50 == 49:
            phase.say(f"{number + 1} kills")
    grown = phase.server.postmaster_kb() - before
    phase.finish(crew)
    phase.count("kB that the postmaster grew by", grown)
    found = phase.close()
    if found.counts[Kind.SERVER_START] != phase.sizes.kills + 1:
        phase.problem(f"{found.counts[Kind.SERVER_START]} starts of the server after "
                      f"{phase.sizes.kills} kills")
    if grown > may_grow_kb(phase.sizes.kills):
        phase.problem(f"the postmaster grew by {grown} kB")


def may_grow_kb(restarts: int) -> int:
    """What the postmaster may grow by.

    PostgreSQL's own keeps about 1 kB in TopMemoryContext at each restart after a crash: 500 of
    them, with no other sessions, left 505,512 bytes used there in 15.20 without this library and
    506,152 with it. Each block of a context is twice as large as the one before, so that what is
    allocated is up to twice what is used.
    """
    return 128 + 2 * restarts


VICTIMS = ("holder", "waiter", "bystander")
FIND_VICTIM = {
    "holder": "SELECT pid FROM cs_locks WHERE granted AND pid IS NOT NULL ORDER BY 1",
    "waiter": "SELECT pid FROM cs_locks WHERE NOT granted ORDER BY 1",
    "bystander": "SELECT pid FROM pg_stat_activity WHERE application_name = 'bystander' ORDER BY 1",
}


def kill_one(phase: Phase, role: str) -> None:
    """Kills a session in that role; afterwards nothing is known of those who died."""
    connection = phase.server.connect("driver")
    cursor = connection.cursor()
    killed = False
    while not killed:
        cursor.execute(FIND_VICTIM[role])
        pids = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
        dead = [row[0] for row in cursor.fetchall()]
        killed = bool(pids) and phase.server.kill(phase.random.choice(pids))
    wait_for_end_of(cursor)
    connection.close()
    phase.server.wait_until_up()
    named = phase.server.value("SELECT count(*) FROM cs_locks WHERE pid = ANY(%s)", dead)
    phase.count(f"kills of a {role}", 1)
    phase.count("names of the dead", named)
    if named:
        phase.problem(f"{named} names of the dead in cs_locks")


def wait_for_end_of(cursor: Any) -> None:
    """Until the server has ended this session, as it ends all of them in a crash."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            cursor.execute("SELECT pg_sleep(0.005)")
        except psycopg2.Error:
            return
    raise RuntimeError("the server did not notice that a process was killed")


def stops(*arguments: Any) -> None:
    """Immediate stops of the whole server."""
    phase = Phase("stops", *arguments)
    crew = crew_of(phase.server, Plan(phase.seed, keys=8), locks=5, leases=2, canaries=CANARIES)
    for _ in range(phase.sizes.stops):
        time.sleep(phase.random.uniform(0.1, 0.4))
        phase.server.stop(signal.SIGQUIT)
        phase.server.start()
        phase.count("immediate stops", 1)
    phase.finish(crew)
    phase.close()


def promotions(*arguments: Any) -> None:
    """A chain of standbys that take over; every second one has not received the last of it."""
    phase = Phase("promotions", *arguments)
    for number in range(phase.sizes.promotions):
        first = 100 * (number + 1)
        phase.prepare_canary(phase.server, first, CANARIES)
        crew = crew_of(phase.server, Plan(phase.seed, keys=8), locks=4, leases=2,
                       canaries=CANARIES, first=first)
        standby = Server(number + 2, phase.path).standby_of(phase.server)
        time.sleep(phase.random.uniform(0.1, 0.4))
        # What the workers before these have left was in the way for long enough.
        finish_prepared(phase.server, below=first * 1000000)
        if number % 2:
            cut_off(standby)
            time.sleep(phase.random.uniform(0.1, 0.4))
        phase.server.stop(signal.SIGQUIT)
        phase.finish(crew)
        take_over(standby)
        phase.server.remove()
        for line in phase.server.bad_lines()[:5]:
            phase.problem(line)
        phase.server = standby
        phase.count("promotions", 1)
        if number % 5 == 4:
            phase.say(f"{number + 1} promotions")
    # Somebody has to meet what the last promotion brought along.
    crew = crew_of(phase.server, Plan(phase.seed, keys=8), locks=4, leases=2, first=1)
    time.sleep(1)
    phase.finish(crew)
    phase.close()


def cut_off(standby: Server) -> None:
    """From here on it receives nothing."""
    standby.rows("ALTER SYSTEM SET primary_conninfo = ''")
    standby.rows("SELECT pg_reload_conf()")
    while standby.value("SELECT count(*) FROM pg_stat_wal_receiver"):
        time.sleep(PAUSE)


def take_over(standby: Server) -> None:
    """Promotes it; the others are gone."""
    standby.promote()
    survivors = [row[0] for row in standby.rows("SELECT gid::bigint FROM pg_prepared_xacts")]
    standby.value("SELECT history_promoted(%s::bigint[])", survivors)
