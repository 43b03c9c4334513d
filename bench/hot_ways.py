"""Ways to change one row that everybody wants, each a function that connects a client.

All but the calls that do everything in the server send the same statements, one by one, as an
application does: BEGIN, the lock, SELECT balance, UPDATE with what the client computed, COMMIT.
An update that was made from an outdated balance is lost. All give up after the same time.
"""

from __future__ import annotations

import secrets
import time
from typing import Any, Callable, Optional

from psycopg2 import errors

from clients import Attempt, Client, Open
from pairs import UNLOCK
from servers import Redis, Server

KEY = "withdraw:user:1"
LIMIT = 3.0  # seconds, of each wait
LIMIT_MS = int(LIMIT * 1000)

SETUP = """
    CREATE TABLE account (id integer PRIMARY KEY, balance bigint NOT NULL);
    INSERT INTO account VALUES (1, 0), (2, 0);
    CREATE FUNCTION polled_lock(key text) RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE
        give_up CONSTANT timestamptz := clock_timestamp() + interval '%d ms';
    BEGIN
        WHILE NOT pg_try_advisory_xact_lock(hashtextextended(key, 0)) LOOP
            IF clock_timestamp() >= give_up THEN
                RETURN false;
            END IF;
            PERFORM pg_sleep(0.01);
        END LOOP;
        RETURN true;
    END $$""" % LIMIT_MS

BUILT_IN = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
TRY_BUILT_IN = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))"
OURS = f"SELECT cs_lock($1, {LIMIT_MS})"
POLLED_IN_FUNCTION = "SELECT polled_lock($1)"

EXECUTE_LOCK = f"EXECUTE lock('{KEY}')"
EXECUTE_READ = "EXECUTE read"

WITHDRAW = "UPDATE account SET balance = balance - $2::bigint WHERE id = $1::integer"
CALL_RUN = f"CALL cs_run('{KEY}', '{WITHDRAW}', '{{1,1}}', {LIMIT_MS})"
CALL_TRANSFER = f"CALL cs_transfer('account', '1', '2', 1, {LIMIT_MS})"

TIMEOUT: Any = errors.LockNotAvailable
CONFLICT: Any = (errors.SerializationFailure, errors.DeadlockDetected)

now = time.perf_counter


def session(server: Server, lock: str = "SELECT $1") -> Any:
    """A cursor of a session with the statements prepared, and planned once, not after the usual
    five executions."""
    options = f"-c lock_timeout={LIMIT_MS} -c plan_cache_mode=force_generic_plan"
    cursor = server.connect(options=options).cursor()
    cursor.execute(f"PREPARE lock (text) AS {lock}")
    cursor.execute("PREPARE read AS SELECT balance FROM account WHERE id = 1")
    cursor.execute("PREPARE read_locked AS SELECT balance FROM account WHERE id = 1 FOR UPDATE")
    cursor.execute("PREPARE write (bigint) AS UPDATE account SET balance = $1 WHERE id = 1")
    return cursor


def write_and_commit(cursor: Any) -> None:
    """The client computes with the balance that was read last."""
    cursor.execute(f"EXECUTE write({cursor.fetchone()[0] - 1})")
    cursor.execute("COMMIT")


def read_and_write(cursor: Any) -> bool:
    """The work, under a lock."""
    cursor.execute(EXECUTE_READ)
    write_and_commit(cursor)
    return True


def locked(server: Server, lock: str) -> Open:
    """BEGIN; a statement that waits for the lock; SELECT; UPDATE; COMMIT."""

    def connect() -> Attempt:
        cursor = session(server, lock)

        def attempt(client: Client) -> bool:
            cursor.execute("BEGIN")
            start = now()
            try:
                cursor.execute(EXECUTE_LOCK)
                got = cursor.fetchone()[0] is not False  # only the function that polls says so
            except TIMEOUT:
                got = False
            client.waits.append(now() - start)
            if not got:
                cursor.execute("ROLLBACK")
                return False
            return read_and_write(cursor)

        return attempt

    return connect


def row_locked(server: Server) -> Open:
    """BEGIN; SELECT FOR UPDATE; UPDATE; COMMIT: a statement less."""

    def connect() -> Attempt:
        cursor = session(server)

        def attempt(client: Client) -> bool:
            cursor.execute("BEGIN")
            start = now()
            try:
                cursor.execute("EXECUTE read_locked")
            except TIMEOUT:
                client.waits.append(now() - start)
                cursor.execute("ROLLBACK")
                return False
            client.waits.append(now() - start)
            write_and_commit(cursor)
            return True

        return attempt

    return connect


def unlocked(server: Server, begin: str) -> Open:
    """No lock. In SERIALIZABLE the database finds conflicts, and the client retries at once."""

    def connect() -> Attempt:
        cursor = session(server)

        def attempt(client: Client) -> bool:
            start = now()
            while True:
                try:
                    cursor.execute(begin)
                    cursor.execute(EXECUTE_READ)
                    write_and_commit(cursor)
                    done = True
                except CONFLICT:
                    cursor.execute("ROLLBACK")
                    if now() - start < LIMIT:
                        client.retries += 1
                        continue
                    done = False
                except TIMEOUT:
                    cursor.execute("ROLLBACK")
                    done = False
                client.waits.append(now() - start)
                return done

        return attempt

    return connect


def poll(got: Callable[[], Any], pause: float, client: Client) -> bool:
    """Asks until it gets it; False after the limit."""
    start = now()
    while not got():
        if now() - start >= LIMIT:
            client.waits.append(now() - start)
            return False
        client.retries += 1
        time.sleep(pause)
    client.waits.append(now() - start)
    return True


def polled(server: Server, pause: float) -> Open:
    """BEGIN; try, sleep, try again; SELECT; UPDATE; COMMIT."""

    def connect() -> Attempt:
        cursor = session(server, TRY_BUILT_IN)

        def got() -> bool:
            cursor.execute(EXECUTE_LOCK)
            return cursor.fetchone()[0]

        def attempt(client: Client) -> bool:
            cursor.execute("BEGIN")
            if not poll(got, pause, client):
                cursor.execute("ROLLBACK")
                return False
            return read_and_write(cursor)

        return attempt

    return connect


def redis_locked(server: Server, redis: Redis, pause: float) -> Open:
    """A lock in Redis around the transaction, with a token so that only its owner gives it back.
    Like every lock that expires, it does not keep out an owner who was too slow."""

    def connect() -> Attempt:
        cursor = session(server)
        store = redis.connect()
        release = store.register_script(UNLOCK)

        def attempt(client: Client) -> bool:
            token = secrets.token_hex(16)
            if not poll(lambda: store.set(KEY, token, nx=True, px=30000), pause, client):
                return False
            cursor.execute("BEGIN")
            read_and_write(cursor)
            release(keys=[KEY], args=[token])
            return True

        return attempt

    return connect


def called(server: Server, call: str, attempts: Optional[int] = None) -> Open:
    """Everything in one call; the place of its result that says how often it tried, if one does."""

    def connect() -> Attempt:
        cursor = session(server)

        def attempt(client: Client) -> bool:
            start = now()
            try:
                cursor.execute(call)
            except TIMEOUT:
                client.waits.append(now() - start)
                return False
            client.waits.append(now() - start)
            if attempts is not None:
                client.retries += cursor.fetchone()[attempts] - 1
            return True

        return attempt

    return connect
