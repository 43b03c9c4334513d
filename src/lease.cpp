/*
 * lease.cpp - leases: locks that outlive their session, and end by the clock.
 *
 * A lease is a row (lease_table.hpp), written under locks (lease_lock.hpp).
 *
 * Whoever waits looks at the row first and asks for the lock only when the lease
 * seems to be free: waiting for it all the time would stop renewals.
 */
#include "arguments.hpp"
#include "held.hpp"
#include "lease_lock.hpp"
#include "lease_table.hpp"
#include "printable.hpp"
#include "settings.hpp"
#include "wait_queue.hpp"

namespace cs {

namespace {

TimestampTz After(TimestampTz now, int milliseconds)
{
	return TimestampTzPlusMilliseconds(now, milliseconds);
}

/* Grants the lease if it is still free now that nobody else can write its row. */
bool grant_if_free(Relation table, const Lease &lease, int ttl_ms, NewLease &wanted)
{
	const LeaseRow row = look_at_lease(table, lease.key);
	const TimestampTz now = GetCurrentTimestamp();

	if (!row.IsFree(now))
		return false;
	wanted.token = next_token(table, row);
	wanted.granted_at = now;
	wanted.expires_at = After(now, ttl_ms);
	/* Whoever gets to know a token may rely on it: it must not come back after a crash. */
	ForceSyncCommit();
	write_lease(table, lease.key, row, wanted);
	return true;
}

/* Until the lease may be free, in milliseconds; 0 = it seems to be. */
long MillisecondsUntilFree(const LeaseRow &row)
{
	const TimestampTz now = GetCurrentTimestamp();

	return row.IsFree(now) ? 0 : TimestampDifferenceMilliseconds(now, row.expires_at) + 1;
}

/* One who is first in the queue looks at the lease until it is granted or time is up. */
bool wait_for_lease(Relation table, const Lease &lease, int ttl_ms, TimeBudget &budget,
					NewLease &wanted)
{
	for (;;)
	{
		prepare_to_sleep();
		const long until_free = MillisecondsUntilFree(look_at_lease(table, lease.key));

		if (until_free == 0)
		{
			if (!take_lease_lock(lease, kGrant, budget, true))
				return false;
			if (grant_if_free(table, lease, ttl_ms, wanted))
				return true;
			release_lease_lock(lease, kGrant);
			continue;
		}

		const int left = budget.Left();

		if (left == 0)
			return false;
		sleep_until_woken(
			static_cast<int>(left < 0 ? Min(until_free, INT_MAX) : Min(until_free, left)));
	}
}

/* Once in a cluster. */
void prepare_epoch(Relation table)
{
	if (is_epoch_known(table))
		return;
	require_lease_lock(LeaseOf(kNoKey), kGrant);
	if (!is_epoch_known(table))
		begin_epoch(table);
}

bool take_lease(Relation table, const Lease &lease, int ttl_ms, TimeBudget &budget,
				NewLease &wanted)
{
	prepare_epoch(table);
	if (!join_queue(lease.queue, lease.key, budget, true))
		return false;

	const bool granted = wait_for_lease(table, lease, ttl_ms, budget, wanted);

	leave_queue(lease.queue);
	return granted;
}

/*
 * Writes a new expiry if the lease is still held with that token. Looks before
 * it asks for the lock: a lease that is lost is not worth a wait.
 */
bool change_expiry(FunctionCallInfo fcinfo, const Key &key, int64 token, int ttl_ms, bool release)
{
	Lease lease = LeaseOf(key);
	ErrorContextCallback description = {error_context_stack, describe_lease, &lease};
	Relation table = open_lease_table(fcinfo, RowExclusiveLock);
	bool held = read_lease(table, key).IsHeldBy(token, GetCurrentTimestamp());

	error_context_stack = &description;
	if (held)
	{
		/* Those who wait for a lease that was granted in this transaction wait for its lock. */
		const bool must_wake = !HasLeaseLock(lease, kRenew);

		prepare_wakeup();
		require_lease_lock(lease, kRenew);

		const LeaseRow row = look_at_lease(table, key);
		const TimestampTz now = GetCurrentTimestamp();

		held = row.IsHeldBy(token, now);
		/* As for a grant: the holder may rely on the new end. */
		if (held && !release)
			ForceSyncCommit();
		if (held)
			write_expiry(table, row, release ? now : After(now, ttl_ms), release);
		/* The expiry that they know may be too late now. */
		if (must_wake)
			NoteWakeup(lease.lock, kRenew, lease.queue);
	}
	error_context_stack = description.previous;
	table_close(table, NoLock);
	return held;
}

[[noreturn]] void raise_lost(const Lease &lease, const LeaseRow &row, int64 token)
{
	const char *key = printable(lease.key.bytes, lease.key.size);
	const char *how;

	if (row.tuple == nullptr)
		how = "There is no lease of this key.";
	else if (row.token != token)
		how = "That is not the last token that was given out."; /* which one is, is not for all */
	else if (row.released)
		how = "It was released.";
	else
		how = psprintf("It expired at %s.", timestamptz_to_str(row.expires_at));
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("lease of key \"%s\" with token " INT64_FORMAT " is lost", key, token),
					errdetail("%s", how),
					errhint("Somebody else may work under it: give the work up, or begin anew "
							"with cs_lease.")));
}

int read_ttl(FunctionCallInfo fcinfo, int index)
{
	require_not_null(fcinfo, index, "ttl_ms");
	const int ttl_ms = PG_GETARG_INT32(index);

	if (ttl_ms < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("ttl_ms must be at least 1: %d", ttl_ms)));
	return ttl_ms;
}

int64 read_token(FunctionCallInfo fcinfo, int index)
{
	require_not_null(fcinfo, index, "token");
	return PG_GETARG_INT64(index);
}

TimestampTz read_time_before(FunctionCallInfo fcinfo, int index)
{
	require_not_null(fcinfo, index, "older_than");
	const TimestampTz now = GetCurrentTimestamp();
	const TimestampTz before = DatumGetTimestampTz(DirectFunctionCall2(
		timestamptz_mi_interval, TimestampTzGetDatum(now), PG_GETARG_DATUM(index)));

	if (before > now)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("older_than must not be negative")));
	return before;
}

/* 25006 in a read-only transaction, and on a standby. */
void require_writable(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

/* How many keys this session may lock beside those that it holds. */
int64 count_free_keys()
{
	const long limit = MaxKeysPerSession();

	return limit < 0 ? PG_INT32_MAX : limit - count_held_keys(0);
}

/* Removes the row if nobody uses or renewed the lease meanwhile. */
bool remove_if_expired(Relation table, const Key &key, TimestampTz before)
{
	const Lease lease = LeaseOf(key);
	TimeBudget no_wait(0);

	if (!take_lease_lock(lease, kGrant, no_wait, false))
		return false;

	const LeaseRow row = look_at_lease(table, key);

	if (row.tuple == nullptr || row.expires_at >= before)
	{
		release_lease_lock(lease, kGrant);
		return false;
	}
	remove_lease(table, row);
	return true;
}

} // namespace

} // namespace cs

extern "C" {
CS_SQL_FUNCTION(cs_lease);
CS_SQL_FUNCTION(cs_renew_lease);
CS_SQL_FUNCTION(cs_release_lease);
CS_SQL_FUNCTION(cs_check_token);
CS_SQL_FUNCTION(cs_lease_cleanup);
}

using namespace cs;

/*
 * cs_lease(key, ttl_ms, owner, timeout_ms, payload) - the fencing token, or null
 * if another one has the lease for longer than timeout_ms milliseconds. The lease
 * is granted when the transaction commits.
 */
Datum cs_lease(PG_FUNCTION_ARGS)
{
	require_writable("cs_lease()");
	Lease lease = LeaseOf(read_key(fcinfo, 0, "key"));
	const int ttl_ms = read_ttl(fcinfo, 1);
	TimeBudget budget(read_timeout(fcinfo, 3));
	NewLease wanted = {0, 0, 0, fcinfo->args[2], fcinfo->args[4]};
	ErrorContextCallback description = {error_context_stack, describe_lease, &lease};
	Relation table = open_lease_table(fcinfo, RowExclusiveLock);

	budget.HeedLockTimeout();
	error_context_stack = &description;

	const bool granted = take_lease(table, lease, ttl_ms, budget, wanted);

	error_context_stack = description.previous;
	table_close(table, NoLock);
	if (!granted)
		PG_RETURN_NULL();
	PG_RETURN_INT64(wanted.token);
}

/* cs_renew_lease(key, token, ttl_ms) - false if the lease was lost, also if it just expired. */
Datum cs_renew_lease(PG_FUNCTION_ARGS)
{
	require_writable("cs_renew_lease()");
	const Key key = read_key(fcinfo, 0, "key");
	const int64 token = read_token(fcinfo, 1);

	PG_RETURN_BOOL(change_expiry(fcinfo, key, token, read_ttl(fcinfo, 2), false));
}

/* cs_release_lease(key, token) - false if the lease was lost before. */
Datum cs_release_lease(PG_FUNCTION_ARGS)
{
	require_writable("cs_release_lease()");
	const Key key = read_key(fcinfo, 0, "key");

	PG_RETURN_BOOL(change_expiry(fcinfo, key, read_token(fcinfo, 1), 0, true));
}

/*
 * cs_check_token(key, token) - 55000 if the lease was lost. Until the transaction
 * ends nobody else is granted it, even if it expires.
 */
Datum cs_check_token(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("cs_check_token()");
	PreventCommandIfParallelMode("cs_check_token()");
	Lease lease = LeaseOf(read_key(fcinfo, 0, "key"));
	const int64 token = read_token(fcinfo, 1);
	ErrorContextCallback description = {error_context_stack, describe_lease, &lease};
	Relation table = open_lease_table(fcinfo, AccessShareLock);

	LeaseRow row = read_lease(table, lease.key);

	/* As in change_expiry: somebody who takes a lost lease over is not worth a wait. */
	error_context_stack = &description;
	if (row.IsHeldBy(token, GetCurrentTimestamp()))
	{
		require_lease_lock(lease, kCheck);
		/* Under this lock it may still be renewed. */
		row = read_lease(table, lease.key);
	}
	error_context_stack = description.previous;
	table_close(table, NoLock);
	if (!row.IsHeldBy(token, GetCurrentTimestamp()))
		raise_lost(lease, row, token);
	PG_RETURN_VOID();
}

/*
 * cs_lease_cleanup(older_than) - removes leases that ended longer ago than that,
 * at most as many at once as a session may lock keys; returns their number.
 */
Datum cs_lease_cleanup(PG_FUNCTION_ARGS)
{
	require_writable("cs_lease_cleanup()");
	const TimestampTz before = read_time_before(fcinfo, 0);
	Relation table = open_lease_table(fcinfo, RowExclusiveLock);
	/* Two that clean up would both write the row of the empty key. */
	require_lease_lock(LeaseOf(kNoKey), kGrant);

	/* Where there is room for no more, the first one is refused. */
	const List *keys = keys_expired_before(table, before, Max(1, count_free_keys()));
	const ListCell *cell;
	int64 removed = 0;
	foreach (cell, keys)
	{
		CHECK_FOR_INTERRUPTS();
		if (remove_if_expired(table, make_key(static_cast<const text *>(lfirst(cell))), before))
			removed++;
	}
	table_close(table, NoLock);
	PG_RETURN_INT64(removed);
}
