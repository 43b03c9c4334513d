--
-- Modes and scopes: their names, the lock modes of the server behind them,
-- and what counts as the strongest.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

-- The five modes, by their long and their short names.
BEGIN;
SELECT mode, cs_lock('long ' || mode, mode => mode), cs_held_mode('long ' || mode)
FROM unnest(ARRAY['exclusive', 'shared', 'intent shared', 'intent exclusive',
                  'shared intent exclusive']) AS mode;
SELECT mode, cs_lock('short ' || mode, mode => mode), cs_held_mode('short ' || mode)
FROM unnest(ARRAY['X', 'S', 'IS', 'IX', 'SIX']) AS mode;
SELECT key, l.mode
FROM unnest(ARRAY['long exclusive', 'long shared', 'long intent shared', 'long intent exclusive',
                  'long shared intent exclusive', 'short X', 'short S', 'short IS', 'short IX',
                  'short SIX']) WITH ORDINALITY AS k (key, n),
     LATERAL cs_key_tag(key) AS tag
     JOIN pg_locks AS l USING (classid, objid, objsubid)
WHERE l.locktype = 'advisory'
ORDER BY n;
ROLLBACK;

-- Exclusive is the default of every function.
BEGIN;
SELECT cs_lock('a'), cs_try_lock('b'), cs_lock_all('{c}'), cs_try_lock_all('{d}'),
       cs_try_lock_any('{e}'), cs_lock_path('f'), cs_try_lock_path('g');
SELECT key, cs_held_mode(key) FROM unnest(ARRAY['a', 'b', 'c', 'd', 'e', 'f', 'g']) AS key;
ROLLBACK;

-- Names are exact.
\set VERBOSITY default
SELECT cs_lock('k', mode => 'Exclusive');
SELECT cs_lock('k', scope => 'Session');
SELECT mode, pg_temp.outcome(format('SELECT cs_lock(''k'', mode => %L)', mode))
FROM unnest(ARRAY['', 'x', 'EXCLUSIVE', 'exclusive ', ' exclusive', 'exclusiv', 'exclusives', 'XX',
                  'access exclusive', 'ExclusiveLock', NULL]) AS mode;
SELECT scope, pg_temp.outcome(format('SELECT cs_lock(''k'', scope => %L)', scope))
FROM unnest(ARRAY['', 'T', 'SESSION', 'session ', 'xact', NULL]) AS scope;
-- Messages quote them escaped and cut.
SELECT pg_temp.outcome(format('SELECT cs_lock(''k'', %s => %L)', argument, E'no\nERROR:  forged\r\t\x1b[2J'))
FROM unnest(ARRAY['mode', 'scope']) AS argument;
SELECT argument, message = format('22023: unrecognized lock %s: "%s"', argument, repeat('x', 1024)) AS cut
FROM unnest(ARRAY['mode', 'scope']) AS argument,
     pg_temp.outcome(format('SELECT cs_lock(''k'', %s => %L)', argument, repeat('x', 2000))) AS message;
-- Never within a character.
SELECT message = format('22023: unrecognized lock mode: "x%s"', repeat(U&'\00e4', 511)) AS cut
FROM pg_temp.outcome(format('SELECT cs_lock(''k'', mode => %L)', 'x' || repeat(U&'\00e4', 1000))) AS message;

-- Every function checks them.
SELECT call, pg_temp.outcome(format('SELECT %s, mode => ''no'')', call)) AS mode,
       pg_temp.outcome(format('SELECT %s, mode => NULL)', call)) AS null_mode
FROM unnest(ARRAY['cs_lock(''k''', 'cs_try_lock(''k''', 'cs_lock_all(''{k}''', 'cs_try_lock_all(''{k}''',
                  'cs_try_lock_any(''{k}''', 'cs_lock_path(''k''', 'cs_try_lock_path(''k''',
                  'cs_unlock(''k''', 'cs_unlock_path(''k''']) AS call;
SELECT call, pg_temp.outcome(format('SELECT %s, scope => ''no'')', call)) AS scope,
       pg_temp.outcome(format('SELECT %s, scope => NULL)', call)) AS null_scope
FROM unnest(ARRAY['cs_lock(''k''', 'cs_try_lock(''k''', 'cs_lock_all(''{k}''', 'cs_try_lock_all(''{k}''',
                  'cs_try_lock_any(''{k}''', 'cs_lock_path(''k''', 'cs_try_lock_path(''k''']) AS call;
SELECT pg_temp.my_locks();

-- Own locks never conflict; cs_held_mode tells the strongest: X, SIX, S, IX, IS.
BEGIN;
SELECT mode, cs_lock('k', mode => mode), cs_held_mode('k')
FROM unnest(ARRAY['IS', 'IX', 'S', 'SIX', 'X']) AS mode;
SELECT pg_temp.my_locks();
ROLLBACK;
BEGIN;
SELECT mode, cs_lock('k', mode => mode), cs_held_mode('k')
FROM unnest(ARRAY['S', 'IX', 'IS']) AS mode;
ROLLBACK;
SELECT cs_held_mode('k');
