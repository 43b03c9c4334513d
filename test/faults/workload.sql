-- What the sessions of a history do. All that is random is drawn before an operation begins, by as
-- many draws whatever became of the one before: so the seed of a call decides its operations.

-- One operation on keys k0 … and on the tree below the key "p". A timeout after a wait is recorded.
CREATE FUNCTION history_operation(
	what integer, key text, keys text[], path text, mode text, scope text, wait integer)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	granted boolean;
	done boolean;
	permits integer := 1 << (what % 3);
	permit text := 'permit' || permits;
	long_mode text;
BEGIN
	IF what < 30 THEN
		granted := history_grant(cs_try_lock(key, wait, mode, scope), key, mode, scope);
	ELSIF what < 40 THEN
		done := history_grant(cs_lock(key, wait, mode, scope) IS NOT NULL, key, mode, scope);
	ELSIF what < 44 THEN
		done := history_grants(
			cs_lock_all(keys, wait, mode, scope) IS NOT NULL, keys, mode, scope);
	ELSIF what < 49 THEN
		granted := history_grants(cs_try_lock_all(keys, wait, mode, scope), keys, mode, scope);
	ELSIF what < 57 THEN
		done := history_grants(true, cs_try_lock_any(keys, 2, mode, scope), mode, scope);
	ELSIF what < 65 THEN
		granted := history_grant_path(cs_try_lock_path(path, wait, mode, scope), path, mode, scope);
	ELSIF what < 69 THEN
		done := history_grant_path(
			cs_lock_path(path, wait, mode, scope) IS NOT NULL, path, mode, scope);
	ELSIF what < 74 THEN
		granted := history_permit(cs_try_permit(permit, permits, wait), permit, permits);
	ELSIF what < 77 THEN
		done := history_permit(cs_permit(permit, permits, wait) IS NOT NULL, permit, permits);
	ELSIF what < 81 THEN
		long_mode := CASE mode
			WHEN 'X' THEN 'EXCLUSIVE' WHEN 'SIX' THEN 'SHARE ROW EXCLUSIVE' WHEN 'S' THEN 'SHARE'
			WHEN 'IX' THEN 'ROW EXCLUSIVE' ELSE 'ROW SHARE' END;
		EXECUTE format('LOCK cs_key.%I IN %s MODE %s', key, long_mode,
			CASE wait WHEN 0 THEN 'NOWAIT' ELSE '' END);
		done := history_grant(true, key, mode, 'transaction');
	ELSIF what < 89 THEN
		mode := coalesce(cs_held_mode(key), mode);
		done := history_released(history_release(key, mode), cs_unlock(key, mode));
	ELSIF what < 92 THEN
		done := history_released(history_release_path(path, mode), cs_unlock_path(path, mode));
	ELSIF what < 94 THEN
		done := history_released_all(history_release_all(), cs_unlock_all()) >= 0;
	ELSE
		done := history_held_mode(cs_held_mode(key), key) IS NULL;
	END IF;
	IF NOT granted AND wait > 0 THEN
		done := history_error('55P03');
	END IF;
END $$;

-- A key: one of the first ones, or one of the tree.
CREATE FUNCTION history_key(keys integer, path text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n integer := draw(keys + keys / 4);
BEGIN
	RETURN CASE WHEN n < keys THEN 'k' || n ELSE path END;
END $$;

-- Draws an operation; one of four is in a savepoint, and a third of those is rolled back.
CREATE FUNCTION history_draw_operation(keys integer, longest_wait integer)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	what integer := draw(100);
	path text := 'p' || left(':' || draw(2) || ':' || draw(2), 2 * draw(3));
	key text := history_key(keys, path);
	several text[] :=
		ARRAY[history_key(keys, path), history_key(keys, path), history_key(keys, path)];
	mode text := (ARRAY['IS', 'IX', 'S', 'SIX', 'X'])[1 + draw(5)];
	scope text := CASE draw(5) WHEN 0 THEN 'session' ELSE 'transaction' END;
	wait integer := greatest(0, draw(4 * longest_wait) - 3 * longest_wait);
	block integer := draw(12);
	raises boolean :=
		what BETWEEN 30 AND 43 OR what BETWEEN 65 AND 68 OR what BETWEEN 74 AND 80;
BEGIN
	-- An error outside of a savepoint ends the call: seldom enough.
	IF block > 2 AND (NOT raises OR block = 3) THEN
		PERFORM history_operation(what, key, several, path, mode, scope, wait);
		RETURN;
	END IF;
	BEGIN
		PERFORM history_operation(what, key, several, path, mode, scope, wait);
		IF block = 0 THEN
			RAISE SQLSTATE 'HS001';
		END IF;
	EXCEPTION
		WHEN SQLSTATE 'HS001' THEN
			NULL;
		WHEN lock_not_available OR deadlock_detected OR serialization_failure OR query_canceled THEN
			IF wait > 0 OR SQLSTATE <> '55P03' THEN
				PERFORM history_error(SQLSTATE);
			END IF;
	END;
END $$;

CREATE PROCEDURE history_work(seed bigint, transactions integer, keys integer, longest_wait integer)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM history_seed(seed);
	FOR i IN 1 .. transactions LOOP
		FOR j IN 0 .. draw(6) LOOP
			PERFORM history_draw_operation(keys, longest_wait);
		END LOOP;
		IF draw(8) = 0 THEN
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
	END LOOP;
END $$;

-- What a transaction holds that is to be prepared: locks in transaction scope alone.
CREATE FUNCTION history_work_to_prepare(seed bigint, keys integer)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	path text;
BEGIN
	PERFORM history_seed(seed);
	FOR i IN 0 .. draw(4) LOOP
		path := 'p' || left(':' || draw(2) || ':' || draw(2), 2 * draw(3));
		PERFORM history_operation(draw(2) * 57, history_key(keys, path), NULL, path,
			(ARRAY['IS', 'IX', 'S', 'SIX', 'X'])[1 + draw(5)], 'transaction', 0);
	END LOOP;
END $$;

-- Takes leases; keeps some until they expire, rolls some back, renews, checks and releases others.
CREATE PROCEDURE history_leases(seed bigint, rounds integer, longest_ttl integer)
LANGUAGE plpgsql AS $$
DECLARE
	lease text; ttl integer; wait integer; chance integer; rolled_back boolean;
	mine bigint; expires timestamptz; done boolean; never CONSTANT timestamptz := '-infinity';
BEGIN
	PERFORM history_seed(seed);
	FOR i IN 1 .. rounds LOOP
		lease := 'lease' || draw(3);
		ttl := 2 + draw(longest_ttl);
		wait := draw(2) * draw(30);
		chance := draw(8);
		rolled_back := draw(8) = 0;
		done := history_lease(0, lease, 0, never, ttl);
		mine := cs_lease(lease, ttl, timeout_ms => wait);
		-- By its token: a snapshot from before the grant shows the row of the last one, too.
		SELECT l.expires_at INTO expires FROM cs_leases l WHERE l.key = lease AND l.token = mine;
		IF rolled_back OR mine IS NULL THEN
			ROLLBACK;
			CONTINUE;
		END IF;
		COMMIT;
		done := history_lease(1, lease, mine, expires, ttl);
		IF chance < 3 THEN
			CALL history_renew_lease(lease, mine, ttl);
		END IF;
		IF chance BETWEEN 2 AND 5 THEN
			PERFORM history_check_lease(lease, mine);
			COMMIT;
		END IF;
		IF chance > 0 THEN
			done := history_lease(3, lease, mine, never, 0);
			done := cs_release_lease(lease, mine);
			COMMIT;
		END IF;
	END LOOP;
END $$;

-- Renews it for longer than before.
CREATE PROCEDURE history_renew_lease(key text, token bigint, ttl integer)
LANGUAGE plpgsql AS $$
DECLARE
	renewed boolean := cs_renew_lease(key, token, ttl);
	expires timestamptz;
	done boolean;
BEGIN
	SELECT l.expires_at INTO expires FROM cs_leases l
	WHERE l.key = history_renew_lease.key AND l.token = history_renew_lease.token;
	COMMIT;
	IF renewed THEN
		done := history_lease(2, key, token, expires, ttl);
	END IF;
END $$;

CREATE FUNCTION history_check_lease(key text, token bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	done boolean;
BEGIN
	done := history_checked(cs_check_token(key, token) IS NOT NULL, key, token);
	PERFORM pg_sleep(0.001);
EXCEPTION
	WHEN object_not_in_prerequisite_state THEN -- the lease is lost
		NULL;
END $$;
