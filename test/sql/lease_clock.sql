--
-- A clock that is set: to the leases it is the same whether the clock of the server
-- goes forward or the times in the table go back. Tokens do not come from the clock.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
CREATE FUNCTION pg_temp.set_clock(forward interval) RETURNS void LANGUAGE sql AS
$$ UPDATE cs_lease_table SET granted_at = granted_at - forward, expires_at = expires_at - forward $$;

-- Forward: the lease is lost early, and with it the token, for good.
SELECT cs_lease('job', 3600000) AS first \gset
SELECT pg_temp.set_clock('2 hours');
SELECT pg_temp.outcome(format('SELECT cs_check_token(''job'', %s)', :first)) AS check,
       cs_renew_lease('job', :first, 3600000) AS renewed, cs_release_lease('job', :first) AS released;
SELECT cs_lease('job', 3600000) AS second \gset
SELECT :second - :first AS higher_by;

-- Back: the lease lasts longer, others wait, and the old token is still none.
SELECT pg_temp.set_clock('-1 day');
SELECT cs_lease('job', 1) AS "another one", cs_lease('job', 1, timeout_ms => 1) AS "that waits";
SELECT pg_temp.outcome(format('SELECT cs_check_token(''job'', %s)', :first)) AS old_token,
       pg_temp.outcome(format('SELECT cs_check_token(''job'', %s)', :second)) AS new_token;
-- Who has the token can bring the end back to where it belongs.
SELECT cs_renew_lease('job', :second, 60000) AS renewed;
SELECT expires_at < clock_timestamp() + interval '1 hour' AS soon FROM cs_leases;

-- To and fro: every grant has a higher token.
CREATE TEMP TABLE granted (n integer, token bigint);
DO $$
BEGIN
    FOR i IN 1 .. 20 LOOP
        PERFORM pg_temp.set_clock(CASE WHEN i % 3 = 0 THEN interval '-1 hour' ELSE interval '3 hours' END);
        INSERT INTO granted SELECT i, token FROM cs_lease('job', 1800000) AS token WHERE token IS NOT NULL;
    END LOOP;
END $$;
SELECT count(*) AS granted, bool_and(token > before) AS higher
FROM (SELECT token, lag(token, 1, :second::bigint) OVER (ORDER BY n) AS before FROM granted) AS g;
DELETE FROM cs_lease_table;
