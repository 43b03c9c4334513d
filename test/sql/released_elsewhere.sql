--
-- DISCARD ALL and pg_advisory_unlock_all() release keys in session scope
-- without asking. What the functions say must follow the truth.
--
\pset null null
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

-- DISCARD ALL drops the temporary functions, too, so ask pg_locks here.
SELECT cs_lock('a', scope => 'session'), cs_lock('a', scope => 'session'), cs_lock('b', scope => 'session');
DISCARD ALL;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
SELECT cs_held_mode('a'), cs_held_mode('b');
SELECT cs_unlock('a');
SELECT cs_unlock_all();

CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

-- Counting starts again: two holds were lost, one is taken, one is given back.
SELECT cs_lock('a', scope => 'session'), cs_lock('a', scope => 'session');
SELECT pg_advisory_unlock_all();
SELECT cs_held_mode('a'), pg_temp.my_locks();
SELECT cs_lock('a', scope => 'session');
SELECT cs_unlock('a'), cs_held_mode('a'), pg_temp.my_locks();
SELECT cs_unlock('a');

-- Locks in transaction scope stay.
BEGIN;
SELECT cs_lock('t'), cs_lock('s', scope => 'session');
SELECT pg_advisory_unlock_all();
SELECT cs_held_mode('t'), cs_held_mode('s'), pg_temp.my_locks();
COMMIT;
SELECT pg_temp.my_locks();

-- A key in both scopes loses the hold in session scope and no other, and there is
-- nothing left for cs_unlock to give back. (Which warning tells so does not matter here.)
SET client_min_messages = error;
BEGIN;
SELECT cs_lock('k'), cs_lock('k', scope => 'session');
SELECT pg_advisory_unlock_all();
SELECT cs_held_mode('k'), pg_temp.my_locks();
SELECT cs_unlock('k'), cs_unlock_all(), cs_held_mode('k');
COMMIT;
SELECT pg_temp.my_locks();
-- The same, with one new hold in session scope after two that were lost.
BEGIN;
SELECT cs_lock('k', scope => 'session'), cs_lock('k', scope => 'session');
SELECT pg_advisory_unlock_all();
SELECT cs_lock('k'), cs_lock('k', scope => 'session');
SELECT cs_unlock('k'), cs_unlock('k'), cs_held_mode('k');
SELECT cs_lock('k', scope => 'session'), cs_unlock_all(), cs_unlock_all();
COMMIT;
SELECT pg_temp.my_locks();
-- A path of which a part is gone is not given back in part.
BEGIN;
SELECT cs_lock('org', mode => 'IX'), cs_lock('org:1', mode => 'IX'), cs_lock('org:1:a');
SELECT cs_lock_path('org:1:a', scope => 'session'), pg_advisory_unlock_all();
SELECT cs_unlock_path('org:1:a'), pg_temp.my_locks();
COMMIT;
RESET client_min_messages;

-- Also many times over.
DO $$
BEGIN
    FOR i IN 1..200 LOOP
        PERFORM cs_lock_all(ARRAY['a' || i, 'b' || i, 'same'], scope => 'session');
        PERFORM pg_advisory_unlock_all();
    END LOOP;
END $$;
SELECT cs_unlock_all(), cs_held_mode('same'), pg_temp.my_locks();
