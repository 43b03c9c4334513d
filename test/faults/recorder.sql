-- The functions of recorder.cpp, loaded from :recorder. Those that record a grant or an answer
-- get the call itself as their first argument: nothing can come between the two, not even a cancel.

CREATE FUNCTION history_grant(granted boolean, key text, mode text, scope text)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
CREATE FUNCTION history_grants(granted boolean, keys text[], mode text, scope text)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
CREATE FUNCTION history_grant_path(granted boolean, path text, mode text, scope text)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
CREATE FUNCTION history_permit(granted boolean, key text, permits integer)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
CREATE FUNCTION history_held_mode(answer text, key text)
RETURNS text LANGUAGE C AS :'recorder';

-- Before an unlock, and after it: history_released(history_release(…), cs_unlock(…)).
CREATE FUNCTION history_release(key text, mode text)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
CREATE FUNCTION history_release_path(path text, mode text)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
CREATE FUNCTION history_released(recorded boolean, answer boolean)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
CREATE FUNCTION history_release_all()
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
CREATE FUNCTION history_released_all(recorded boolean, answer integer)
RETURNS integer LANGUAGE C STRICT AS :'recorder';

-- A lease: 0 before it is asked for, 1 granted and 2 renewed when that has committed, 3 before
-- its release.
CREATE FUNCTION history_lease(
	step integer, key text, token bigint, expires_at timestamptz, ttl_ms integer)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
CREATE FUNCTION history_checked(checked boolean, key text, token bigint)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';

-- Before PREPARE TRANSACTION, which is recorded by itself, and before its end.
CREATE FUNCTION history_prepare(name bigint)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
CREATE FUNCTION history_finish_prepared(name bigint)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';

CREATE FUNCTION history_error(sqlstate text)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
-- This server goes on alone, with these prepared transactions.
CREATE FUNCTION history_promoted(survivors bigint[])
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
-- Nobody is left.
CREATE FUNCTION history_finish()
RETURNS boolean LANGUAGE C STRICT AS :'recorder';

-- Random numbers that the seed decides alone: draw(n) is one of 0 … n - 1.
CREATE FUNCTION history_seed(seed bigint)
RETURNS boolean LANGUAGE C STRICT AS :'recorder';
CREATE FUNCTION draw(below integer)
RETURNS integer LANGUAGE C VOLATILE STRICT AS :'recorder';
