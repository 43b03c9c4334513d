"""Pairs of lock and unlock for client processes, of PostgreSQL and of Redis."""

from __future__ import annotations

import os
import random

from clients import Attempt, Client, Open
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


def by_psycopg2(server: Server, *pair: str) -> Open:
    """Statements for each key, which they name {key}."""

    def connect() -> Attempt:
        random.seed()  # not as the other forked ones
        cursor = server.connect().cursor()
        cursor.execute(f"PREPARE take(text) AS {TAKE}")

        def once(_: Client) -> bool:
            key = random_key()
            for statement in pair:
                cursor.execute(statement.format(key=key))
            return True

        return once

    return connect


def by_redis_py(redis: Redis) -> Open:
    """SET with NX and PX, and the script that unlocks."""

    def connect() -> Attempt:
        random.seed()  # not as the other forked ones
        client = redis.connect()
        unlock = client.register_script(UNLOCK)

        def once(_: Client) -> bool:
            key, token = random_key(), os.urandom(8).hex()
            while not client.set(key, token, nx=True, px=TTL_MS):
                key = random_key()
            if unlock(keys=[key], args=[token]) != 1:
                raise RuntimeError(f"{key} was not unlocked")
            return True

        return once

    return connect


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
