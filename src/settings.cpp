/*
 * settings.cpp - the settings, in alphabetical order.
 */
#include <climits>
#include <type_traits>

#include "postgres.hpp"

#include "settings.hpp"

namespace cs {

int check_autocommit;
int check_order;
int check_snapshot;
int deadlock_history;
int default_timeout;
int directory_size;
char *key_separator;
int lock_order_size;
bool session_locks;

static int max_keys_per_session;

static const config_enum_entry kCheckOptions[] = {
	{"off", 0, false}, {"warning", WARNING, false}, {"error", ERROR, false}, {nullptr, 0, false}};

static const config_enum_entry kOrderOptions[] = {{"off", 0, false},
												  {"log", LOG, false},
												  {"warning", WARNING, false},
												  {"error", ERROR, false},
												  {nullptr, 0, false}};

static bool check_key_separator(char **newval, [[maybe_unused]] void **extra,
								[[maybe_unused]] GucSource source)
{
	if (**newval != '\0')
		return true;
	GUC_check_errdetail("The separator must not be empty.");
	return false;
}

/* Not twice: the library may be loaded once more, after memory ran out in here. */
static bool IsDefined(const char *name)
{
	return GetConfigOption(name, true, false) != nullptr &&
		   (GetConfigOptionFlags(name, true) & GUC_CUSTOM_PLACEHOLDER) == 0;
}

template <class... Rest>
static void define(void (*definition)(const char *, Rest...), const char *name,
				   std::type_identity_t<Rest>... rest)
{
	if (!IsDefined(name))
		definition(name, rest...);
}

void define_settings()
{
	/* The size of shared memory is fixed when the memory is made: at the start, if preloaded. */
	const GucContext of_shared_memory =
		process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;

	define(DefineCustomEnumVariable, "concurrency_safe.check_autocommit",
		   "Reports a lock in transaction scope that ends with its own statement.",
		   "That is so outside a transaction block, where nothing else is done in the statement.",
		   &check_autocommit, WARNING, kCheckOptions, PGC_USERSET, 0, nullptr, nullptr, nullptr);
	define(DefineCustomEnumVariable, "concurrency_safe.check_order",
		   "Reports keys that are locked in orders that can end in a deadlock.",
		   "Each cycle of orders is reported once, when its last order is seen.", &check_order, LOG,
		   kOrderOptions, PGC_USERSET, 0, nullptr, nullptr, nullptr);
	define(DefineCustomEnumVariable, "concurrency_safe.check_snapshot",
		   "Reports a lock whose last holder wrote what the snapshot in use does not show.",
		   "In READ COMMITTED never more than a warning, and only for statements that read tables.",
		   &check_snapshot, ERROR, kCheckOptions, PGC_USERSET, 0, nullptr, nullptr, nullptr);
	define(DefineCustomIntVariable, "concurrency_safe.deadlock_history",
		   "Number of deadlocks that cs_deadlocks remembers.",
		   "Each takes about 8 kB of shared memory.", &deadlock_history, 100, 0, 100000,
		   of_shared_memory, 0, nullptr, nullptr, nullptr);
	define(DefineCustomIntVariable, "concurrency_safe.default_timeout",
		   "Longest wait for a key where a call gives no timeout.",
		   "0 does not wait, -1 waits without limit.", &default_timeout, 3000, -1, INT_MAX,
		   PGC_USERSET, GUC_UNIT_MS, nullptr, nullptr, nullptr);
	define(DefineCustomIntVariable, "concurrency_safe.directory_size",
		   "Number of keys whose names and statistics are kept.",
		   "Each takes 252 bytes of shared memory.", &directory_size, 131072, 16, 16 * 1024 * 1024,
		   of_shared_memory, 0, nullptr, nullptr, nullptr);
	define(DefineCustomStringVariable, "concurrency_safe.key_separator",
		   "Separates the segments of a key path.",
		   "All sessions that lock the same paths must use the same separator.", &key_separator,
		   ":", PGC_USERSET, 0, check_key_separator, nullptr, nullptr);
	define(DefineCustomIntVariable, "concurrency_safe.lock_order_size",
		   "Number of orders of locks that cs_lock_order remembers.",
		   "Each takes about 750 bytes of shared memory.", &lock_order_size, 1000, 16, 32767,
		   of_shared_memory, 0, nullptr, nullptr, nullptr);
	define(DefineCustomIntVariable, "concurrency_safe.max_keys_per_session",
		   "Most keys that one session may hold at once.",
		   "0 means a quarter of the server's lock table, -1 means no limit.",
		   &max_keys_per_session, 0, -1, INT_MAX, PGC_SUSET, 0, nullptr, nullptr, nullptr);
	define(DefineCustomBoolVariable, "concurrency_safe.session_locks",
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
