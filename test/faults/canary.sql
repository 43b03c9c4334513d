-- The canary: read a row, write it back with one more, under a key. A second table counts what
-- each worker committed, in rows that no other worker writes. If they differ, an update was lost.

CREATE TABLE canary (id integer PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 10);
CREATE TABLE committed (worker integer, id integer, n bigint NOT NULL, PRIMARY KEY (worker, id))
WITH (fillfactor = 10);

CREATE VIEW canary_differences AS
SELECT id, canary.n AS counted, coalesce(sum(committed.n), 0) AS committed
FROM canary LEFT JOIN committed USING (id)
GROUP BY id HAVING canary.n IS DISTINCT FROM coalesce(sum(committed.n), 0);

CREATE PROCEDURE canary_work(
	seed bigint, me integer, transactions integer, ids integer, locked boolean)
LANGUAGE plpgsql AS $$
DECLARE
	wait CONSTANT integer := 10000;
	row integer;
	way integer;
	key text;
	old bigint;
BEGIN
	PERFORM history_seed(seed);
	FOR i IN 1 .. transactions LOOP
		row := draw(ids);
		way := CASE WHEN locked THEN draw(16) ELSE -1 END;
		key := 'canary:' || row;
		IF way = 0 THEN
			PERFORM cs_lock(key, wait, 'exclusive', 'session');
		ELSIF way = 1 THEN
			PERFORM cs_lock_path(key, wait);
		ELSIF way = 2 THEN
			PERFORM cs_lock_all(ARRAY['canary:' || draw(ids), key], wait);
		ELSIF way = 3 THEN
			PERFORM cs_lock(key, wait, 'SIX');
		ELSIF way = 4 THEN
			EXECUTE format('LOCK cs_key.%I', key);
		ELSIF way > 4 THEN
			PERFORM cs_lock(key, wait);
		END IF;
		SELECT n INTO old FROM canary WHERE id = row;
		UPDATE canary SET n = old + 1 WHERE id = row;
		UPDATE committed SET n = n + 1 WHERE worker = me AND id = row;
		COMMIT;
		IF way = 0 THEN
			PERFORM cs_unlock(key);
		END IF;
	END LOOP;
END $$;
