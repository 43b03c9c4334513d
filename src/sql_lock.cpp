/*
 * sql_lock.cpp - the lock functions as SQL calls them: arguments in, result out.
 *
 * Each reads and checks its arguments (arguments.hpp lists the errors), takes
 * or releases locks (lock.hpp and held.hpp list theirs) and returns.
 */
#include "arguments.hpp"
#include "autocommit.hpp"
#include "held.hpp"
#include "lock.hpp"
#include "printable.hpp"
#include "release.hpp"

namespace cs {

namespace {

/* Takes the locks by the arguments (…, timeout_ms, mode, scope) that these functions share. */
bool take_by_arguments(FunctionCallInfo fcinfo, LockRequest *requests, int count,
					   OnTimeout on_timeout)
{
	const Scope scope = read_scope(fcinfo, 3);
	TimeBudget budget(read_timeout(fcinfo, 1));
	const LockOptions options = {scope, on_timeout, check_alone(fcinfo, requests, count, scope)};

	return take_locks(requests, count, options, budget);
}

bool lock_one(FunctionCallInfo fcinfo, OnTimeout on_timeout)
{
	require_lockable();
	LockRequest request = MakeRequest(read_key(fcinfo, 0, "key"), read_mode(fcinfo, 2));

	return take_by_arguments(fcinfo, &request, 1, on_timeout);
}

bool lock_all(FunctionCallInfo fcinfo, OnTimeout on_timeout)
{
	require_lockable();
	const Requests keys = read_keys(fcinfo, 0, read_mode(fcinfo, 2));
	const int count = SortAndFold(keys.all, keys.count);

	return take_by_arguments(fcinfo, keys.all, count, on_timeout);
}

bool lock_path(FunctionCallInfo fcinfo, OnTimeout on_timeout)
{
	require_lockable();
	const Requests path = read_path(fcinfo, 0, read_mode(fcinfo, 2));

	return take_by_arguments(fcinfo, path.all, path.count, on_timeout);
}

/* The keys of locks, as an array. */
Datum keys_of(const LockRequest *requests, int count)
{
	auto *keys = static_cast<Datum *>(palloc(static_cast<Size>(Max(1, count)) * sizeof(Datum)));

	for (int i = 0; i < count; i++)
	{
		const Key &key = requests[i].key;

		keys[i] = PointerGetDatum(cstring_to_text_with_len(key.bytes, static_cast<int>(key.size)));
	}
	return PointerGetDatum(construct_array(keys, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Releases all of the locks or, with a warning that names the key, none. */
bool unlock(const Requests &requests)
{
	for (int i = 0; i < requests.count; i++)
	{
		const LockRequest &request = requests.all[i];

		if (session_holds(request.key.tag, request.mode) > 0)
			continue;
		ereport(WARNING,
				(errmsg("key \"%s\" is not locked by this session in session scope in %s mode",
						printable(request.key.bytes, request.key.size), ModeName(request.mode)),
				 errdetail("Locks in transaction scope end with their transaction.")));
		return false;
	}
	for (int i = requests.count - 1; i >= 0; i--)
		release_session_lock(requests.all[i].key.tag, requests.all[i].mode);
	return true;
}

} // namespace

} // namespace cs

extern "C" {
CS_SQL_FUNCTION(cs_lock);
CS_SQL_FUNCTION(cs_try_lock);
CS_SQL_FUNCTION(cs_lock_all);
CS_SQL_FUNCTION(cs_try_lock_all);
CS_SQL_FUNCTION(cs_try_lock_any);
CS_SQL_FUNCTION(cs_lock_path);
CS_SQL_FUNCTION(cs_try_lock_path);
CS_SQL_FUNCTION(cs_unlock);
CS_SQL_FUNCTION(cs_unlock_path);
CS_SQL_FUNCTION(cs_unlock_all);
}

using namespace cs;

/* cs_lock(key, timeout_ms, mode, scope) - returns when the lock is held, else 55P03. */
Datum cs_lock(PG_FUNCTION_ARGS)
{
	lock_one(fcinfo, OnTimeout::kRaise);
	PG_RETURN_VOID();
}

/* cs_try_lock(key, timeout_ms, mode, scope) - false instead of 55P03. */
Datum cs_try_lock(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lock_one(fcinfo, OnTimeout::kReturnFalse));
}

/* cs_lock_all(keys, timeout_ms, mode, scope) - all of the keys, in tag order, else 55P03. */
Datum cs_lock_all(PG_FUNCTION_ARGS)
{
	lock_all(fcinfo, OnTimeout::kRaise);
	PG_RETURN_VOID();
}

/* cs_try_lock_all(keys, timeout_ms, mode, scope) - false, and none of them, instead of 55P03. */
Datum cs_try_lock_all(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lock_all(fcinfo, OnTimeout::kReturnFalse));
}

/*
 * cs_try_lock_any(keys, max_locks, mode, scope) - the keys that were free, in
 * the order of the array; never waits.
 */
Datum cs_try_lock_any(PG_FUNCTION_ARGS)
{
	require_lockable();
	require_not_null(fcinfo, 1, "max_locks");
	const int most = PG_GETARG_INT32(1);
	const Requests keys = read_keys(fcinfo, 0, read_mode(fcinfo, 2));
	const Scope scope = read_scope(fcinfo, 3);

	if (most < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_locks must be at least 1: %d", most)));

	const int count = SortAndFold(keys.all, keys.count);

	/* Duplicates are gone; what is left is tried in the order of the array. */
	SortByPosition(keys.all, count);

	const LockOptions options = {scope, OnTimeout::kReturnFalse,
								 check_alone(fcinfo, keys.all, count, scope)};

	PG_RETURN_DATUM(take_available_locks(keys.all, count, most, options, keys_of));
}

/* cs_lock_path(path, timeout_ms, mode, scope) - the path and its ancestors, else 55P03. */
Datum cs_lock_path(PG_FUNCTION_ARGS)
{
	lock_path(fcinfo, OnTimeout::kRaise);
	PG_RETURN_VOID();
}

/* cs_try_lock_path(path, timeout_ms, mode, scope) - false, and nothing, instead of 55P03. */
Datum cs_try_lock_path(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lock_path(fcinfo, OnTimeout::kReturnFalse));
}

/* cs_unlock(key, mode) - one hold in session scope; false and a warning if there is none. */
Datum cs_unlock(PG_FUNCTION_ARGS)
{
	require_lockable();
	LockRequest request = MakeRequest(read_key(fcinfo, 0, "key"), read_mode(fcinfo, 1));

	PG_RETURN_BOOL(unlock({&request, 1}));
}

/* cs_unlock_path(path, mode) - what one cs_lock_path in session scope took, or nothing. */
Datum cs_unlock_path(PG_FUNCTION_ARGS)
{
	require_lockable();
	PG_RETURN_BOOL(unlock(read_path(fcinfo, 0, read_mode(fcinfo, 1))));
}

/* cs_unlock_all() - the number of holds in session scope that were given back. */
Datum cs_unlock_all([[maybe_unused]] PG_FUNCTION_ARGS)
{
	require_lockable();
	PG_RETURN_INT32(release_all_session_locks());
}
