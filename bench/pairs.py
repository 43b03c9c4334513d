"""Pairs of lock and unlock for client processes, of PostgreSQL and of Redis."""

from __future__ import annotations

import os
import random
from typing import Callable

from bare import BarePostgres, BareRedis
from processes import Prepare
from servers import Redis, Server

KEYS = 100_000
# A statement that does nothing but lock is what check_autocommit reports: so it does a bit more.
TAKE = "SELECT cs_lock($1), 1"

# As the manual of SET has it: only who has the token gives the lock back.
UNLOCK = """
if redis.call("get", KEYS[1]) == ARGV[1] then
    return redis.call("del", KEYS[1])
else
    return 0
end"""
TTL_MS = 30_000


def random_key() -> str:
    return f"withdraw:{random.randint(1, KEYS)}"


def by_psycopg2(server: Server, *pair: str) -> Prepare:
    """Statements for each key, which they name {key}."""

    def prepare(number: int) -> Callable[[], None]:
        random.seed(number)
        cursor = server.connect().cursor()
        cursor.execute(f"PREPARE take(text) AS {TAKE}")

        def once() -> None:
            key = random_key()
            for statement in pair:
                cursor.execute(statement.format(key=key))

        return once

    return prepare


def by_redis_py(redis: Redis) -> Prepare:
    """SET with NX and PX, and the script that unlocks."""

    def prepare(number: int) -> Callable[[], None]:
        random.seed(number)
        client = redis.connect()
        unlock = client.register_script(UNLOCK)

        def once() -> None:
            key, token = random_key(), os.urandom(8).hex()
            while not client.set(key, token, nx=True, px=TTL_MS):
                key = random_key()
            if unlock(keys=[key], args=[token]) != 1:
                raise RuntimeError(f"{key} was not unlocked")

        return once

    return prepare


def by_bare_postgres(server: Server) -> Prepare:
    """As by_psycopg2, with one statement."""

    def prepare(number: int) -> Callable[[], None]:
        random.seed(number)
        session = BarePostgres(server.socket / ".s.PGSQL.5432", "postgres", "bench", TAKE)
        return lambda: session.execute(random_key().encode())

    return prepare


def by_bare_redis(redis: Redis) -> Prepare:
    """As by_redis_py."""

    def prepare(number: int) -> Callable[[], None]:
        random.seed(number)
        sha = redis.connect().script_load(UNLOCK).encode()
        ttl_ms = str(TTL_MS).encode()
        session = BareRedis(redis.path)

        def once() -> None:
            key, token = random_key().encode(), os.urandom(8).hex().encode()
            while session.answer_of(b"SET", key, token, b"NX", b"PX", ttl_ms) != b"+OK":
                key = random_key().encode()
            if session.answer_of(b"EVALSHA", sha, b"1", key, token) != b":1":
                raise RuntimeError(f"{key!r} was not unlocked")

        return once

    return prepare


def redis_not_held(redis: Redis) -> str:
    """What is wrong with its lock."""
    client = redis.connect()
    unlock = client.register_script(UNLOCK)
    if not client.set("withdraw:1", "a", nx=True, px=TTL_MS):
        return "a free lock is refused"
    if client.set("withdraw:1", "b", nx=True, px=TTL_MS):
        return "two holders"
    if unlock(keys=["withdraw:1"], args=["b"]) != 0:
        return "unlocked by another"
    return "" if unlock(keys=["withdraw:1"], args=["a"]) == 1 else "not unlocked"


def redis_locks_left(redis: Redis) -> str:
    left = redis.connect().dbsize()
    return f"{left} locks left" if left else ""
