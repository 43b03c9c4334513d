--
-- The settings concurrency_safe.*: defaults, bounds, who may change them.
--
LOAD 'concurrency_safe';
SELECT name, setting, unit, context, vartype, min_val, max_val, boot_val
FROM pg_settings
WHERE name IN ('concurrency_safe.default_timeout', 'concurrency_safe.key_separator',
               'concurrency_safe.max_keys_per_session', 'concurrency_safe.session_locks')
ORDER BY name;
SELECT count(*) AS undescribed FROM pg_settings
WHERE name LIKE 'concurrency\_safe.%' AND (short_desc IS NULL OR short_desc = '');

-- Units, bounds and wrong values.
SET concurrency_safe.default_timeout = '2s';
SHOW concurrency_safe.default_timeout;
SET concurrency_safe.default_timeout = -1;
SHOW concurrency_safe.default_timeout;
\set VERBOSITY sqlstate
SET concurrency_safe.default_timeout = -2;
SET concurrency_safe.default_timeout = 2147483648;
SET concurrency_safe.max_keys_per_session = -2;
SET concurrency_safe.session_locks = perhaps;
\set VERBOSITY default
SHOW concurrency_safe.default_timeout;
RESET concurrency_safe.default_timeout;
SET concurrency_safe.key_separator = '';
SHOW concurrency_safe.key_separator;

-- They can be kept by role, database, function and transaction.
BEGIN;
SET LOCAL concurrency_safe.key_separator = '/';
SHOW concurrency_safe.key_separator;
COMMIT;
SHOW concurrency_safe.key_separator;
CREATE FUNCTION with_setting() RETURNS text LANGUAGE sql SET concurrency_safe.default_timeout = '7s'
AS $$ SELECT current_setting('concurrency_safe.default_timeout') $$;
SELECT with_setting(), current_setting('concurrency_safe.default_timeout');
DROP FUNCTION with_setting();

-- An ordinary role may change all but the limit on keys.
CREATE ROLE regress_cs_settings;
SET ROLE regress_cs_settings;
SET concurrency_safe.default_timeout = 1;
SET concurrency_safe.key_separator = '.';
SET concurrency_safe.session_locks = off;
SET concurrency_safe.max_keys_per_session = -1;
SELECT set_config('concurrency_safe.max_keys_per_session', '100000', false);
RESET ROLE;
DROP ROLE regress_cs_settings;
RESET concurrency_safe.default_timeout;
RESET concurrency_safe.key_separator;
RESET concurrency_safe.session_locks;
