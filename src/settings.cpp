/*
 * settings.cpp - the settings, in alphabetical order.
 */
#include <climits>

#include "postgres.hpp"

#include "settings.hpp"

namespace cs {

int default_timeout;
char *key_separator;
bool session_locks;

static int max_keys_per_session;

static bool check_key_separator(char **newval, [[maybe_unused]] void **extra,
								[[maybe_unused]] GucSource source)
{
	if (**newval != '\0')
		return true;
	GUC_check_errdetail("The separator must not be empty.");
	return false;
}

void define_settings()
{
	DefineCustomIntVariable("concurrency_safe.default_timeout",
							"Longest wait for a key where a call gives no timeout.",
							"0 does not wait, -1 waits without limit.", &default_timeout, 3000, -1,
							INT_MAX, PGC_USERSET, GUC_UNIT_MS, nullptr, nullptr, nullptr);
	DefineCustomStringVariable(
		"concurrency_safe.key_separator", "Separates the segments of a key path.",
		"All sessions that lock the same paths must use the same separator.", &key_separator, ":",
		PGC_USERSET, 0, check_key_separator, nullptr, nullptr);
	DefineCustomIntVariable(
		"concurrency_safe.max_keys_per_session", "Most keys that one session may hold at once.",
		"0 means a quarter of the server's lock table, -1 means no limit.", &max_keys_per_session,
		0, -1, INT_MAX, PGC_SUSET, 0, nullptr, nullptr, nullptr);
	DefineCustomBoolVariable("concurrency_safe.session_locks",
							 "Allows keys to be locked in session scope.",
							 "Turn it off where sessions are shared, as behind a connection pooler "
							 "in transaction mode.",
							 &session_locks, true, PGC_USERSET, 0, nullptr, nullptr, nullptr);
	reserve_setting_prefix("concurrency_safe");
}

long MaxKeysPerSession()
{
	if (max_keys_per_session != 0)
		return max_keys_per_session;
	/* Not MaxBackends: the documented formula uses what the administrator sets. */
	return static_cast<long>(max_locks_per_xact) * (MaxConnections + max_prepared_xacts) / 4;
}

} // namespace cs
