/*
 * permit.cpp - cs_permit: a counting semaphore that consists of locks alone, so
 * that whatever ends a transaction gives its permit back.
 *
 * Who has a permit holds two locks that conflict with nobody's: the key itself
 * in the mode of a permit, which is what others see, and a side lock that has
 * the limit in its tag, so that the number of its holders is the number of
 * permits in use. Counting and taking happen under a third lock that nobody
 * keeps while waiting. Whoever finds all permits in use joins the key's queue
 * (wait_queue.hpp), and newcomers stand behind it.
 */
#include "permit.hpp"
#include "arguments.hpp"
#include "autocommit.hpp"
#include "held.hpp"
#include "lock.hpp"
#include "printable.hpp"
#include "statistics.hpp"
#include "wait_error.hpp"
#include "wait_queue.hpp"

namespace cs {

namespace {

/* The limit is a part of a side lock's tag, beside values that mean something else. */
constexpr int kMostPermits = 0x7fff;

struct PermitLocks
{
	LockRequest request;
	int limit;
	LOCKTAG key;
	LOCKTAG in_use; /* its holders are counted */
	LOCKTAG count;  /* held while counting */
	LOCKTAG queue;
};

/*
 * The end of a transaction releases its locks one partition of the lock table
 * after the other. This one is in the partition of the key, so that both go in
 * one instant: where it is held, the key is. A rollback to a savepoint releases this
 * one first, as the one taken last; unless there are so many that it keeps no order,
 * and then another limit might be let in at that moment.
 */
LOCKTAG InUseTag(const KeyTag &key, uint16 limit)
{
	const LOCKTAG key_lock = LockTag(key);
	const uint32 partition = LockHashPartition(LockTagHashCode(&key_lock));
	LOCKTAG tag = SideLockTag(key, limit);

	while (LockHashPartition(LockTagHashCode(&tag)) != partition)
		tag.locktag_field2++;
	return tag;
}

bool IsInUseTag(const LOCKTAG &tag, const KeyTag &key)
{
	if (tag.locktag_type != LOCKTAG_USERLOCK || tag.locktag_field3 != key.field3 ||
		tag.locktag_field4 == 0 || tag.locktag_field4 > kMostPermits)
		return false;

	const LOCKTAG in_use = InUseTag(key, tag.locktag_field4);

	return memcmp(&tag, &in_use, sizeof(tag)) == 0;
}

PermitLocks LocksOf(const Key &key, int limit)
{
	return {MakeRequest(key, kPermit), limit,
			LockTag(key.tag),          InUseTag(key.tag, static_cast<uint16>(limit)),
			SideLockTag(key.tag, 0),   PermitQueue(key.tag)};
}

[[noreturn]] void raise_other_limit(const PermitLocks &permit, int other_limit)
{
	const Key &key = permit.request.key;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("permits of key \"%s\" are in use with another limit",
					printable(key.bytes, key.size)),
			 errdetail("The limit is %d in use and %d in this call.", other_limit, permit.limit),
			 errhint("Use one limit for the key everywhere; it can change while nobody "
					 "has a permit.")));
}

/* The limit with which permits of the key are in use, if it is another one; else 0. */
int find_other_limit(const PermitLocks &permit)
{
	const LockData *locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
	{
		const LOCKTAG &tag = locks->locks[i].locktag;

		if (IsInUseTag(tag, permit.request.key.tag) && tag.locktag_field4 != permit.limit)
			return tag.locktag_field4;
	}
	return 0;
}

/* A permit of this limit in use means that no other limit is. */
void check_limit(const PermitLocks &permit, int in_use)
{
	if (in_use > 0 || LockWaiterCount(&permit.key) == 0)
		return;

	const int other_limit = find_other_limit(permit);

	if (other_limit != 0)
		raise_other_limit(permit, other_limit);
}

void take_count_lock(const PermitLocks &permit)
{
	const WantedLock wanted = {permit.count, ExclusiveLock, false, permit.request.key};

	if (lock_acquire(permit.count, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		settle_wait(wait_in_queue(wanted, kNoTimeout, false));
}

/* Takes a permit if one is free and nobody else is first. */
bool take_if_free(PermitLocks &permit, bool is_first)
{
	ResourceOwner former = SwitchToTransactionOwner();

	take_count_lock(permit);
	const int in_use = LockWaiterCount(&permit.in_use);
	const bool taken = in_use < permit.limit && (is_first || IsQueueEmpty(permit.queue));

	check_limit(permit, in_use);
	if (taken)
	{
		lock_acquire(permit.key, kPermit, false, true);
		lock_acquire(permit.in_use, kPermit, false, true);
	}
	LockRelease(&permit.count, ExclusiveLock, false);
	CurrentResourceOwner = former;
	return taken;
}

/* Stands in the queue until a permit is free. */
bool wait_for_permit(PermitLocks &permit, TimeBudget &budget, bool keep_transaction)
{
	bool taken;
	int left = -1;

	if (!join_queue(permit.queue, permit.request.key, budget, keep_transaction))
		return false;
	prepare_to_sleep();
	while (!(taken = take_if_free(permit, true)) && (left = budget.Left()) != 0)
	{
		sleep_until_woken(left);
		prepare_to_sleep();
	}
	leave_queue(permit.queue);
	return taken;
}

bool take_free_or_wait(PermitLocks &permit, TimeBudget &budget, bool keep_transaction)
{
	const Key &key = permit.request.key;
	bool taken;

	if (take_if_free(permit, false))
		return true;
	if (budget.Limit() == 0)
	{
		CountRefusal(key);
		return false;
	}
	InvalidateCatalogSnapshotConditionally();
	BeginWait(key);
	PG_TRY();
	{
		taken = wait_for_permit(permit, budget, keep_transaction);
	}
	PG_CATCH();
	{
		/* The error may end a subtransaction alone, and the wait is over all the same. */
		EndWait(WaitEnd::kOther);
		PG_RE_THROW();
	}
	PG_END_TRY();
	EndWait(taken ? WaitEnd::kGranted : WaitEnd::kTimedOut);
	return taken;
}

/* The session has a permit of the key already: one is enough for a transaction. */
bool has_permit(const PermitLocks &permit)
{
	if (!HeldByThisSession(permit.key, kPermit))
		return false;
	if (!HeldByThisSession(permit.in_use, kPermit))
		raise_other_limit(permit, find_other_limit(permit));
	return true;
}

bool take_permit(PermitLocks &permit, TimeBudget &budget, OnTimeout on_timeout)
{
	ErrorContextCallback description = {error_context_stack, describe_request, &permit.request};

	if (has_permit(permit))
		return true;
	prepare_to_lock(&permit.request, 1);
	prepare_note(permit.request, Scope::kTransaction);
	prepare_wakeup();
	budget.HeedLockTimeout();
	error_context_stack = &description;

	const bool taken = take_free_or_wait(permit, budget, on_timeout == OnTimeout::kReturnFalse);

	error_context_stack = description.previous;
	if (taken)
	{
		NoteTransactionLock(permit.request);
		NoteWakeup(permit.key, kPermit, permit.queue);
		CountGrant(permit.request.key, Scope::kTransaction);
	}
	else if (on_timeout == OnTimeout::kRaise)
		raise_lock_timeout(permit.request, budget.Limit());
	return taken;
}

int read_limit(FunctionCallInfo fcinfo, int index)
{
	require_not_null(fcinfo, index, "permits");
	const int limit = PG_GETARG_INT32(index);

	if (limit < 1 || limit > kMostPermits)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("permits must be between 1 and %d: %d", kMostPermits, limit)));
	return limit;
}

/* The arguments (key, permits, timeout_ms) that both functions share. */
bool take_by_arguments(FunctionCallInfo fcinfo, OnTimeout on_timeout)
{
	require_lockable();
	PermitLocks permit = LocksOf(read_key(fcinfo, 0, "key"), read_limit(fcinfo, 1));
	TimeBudget budget(read_timeout(fcinfo, 2));

	check_alone(fcinfo, &permit.request, 1, Scope::kTransaction);
	return take_permit(permit, budget, on_timeout);
}

/*
 * Whoever commits a prepared transaction need not have this library, and would
 * wake nobody.
 */
void refuse_prepare(XactEvent event, [[maybe_unused]] void *arg)
{
	bool has_any = false;

	if (event != XACT_EVENT_PRE_PREPARE)
		return;
	VisitHeldKeys(
		[](const HeldKey &held, void *found) {
			*static_cast<bool *>(found) |= held.mode == kPermit;
		},
		&has_any);
	if (has_any)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot PREPARE a transaction that has a permit")));
}

} // namespace

void watch_permits()
{
	RegisterXactCallback(refuse_prepare, nullptr);
}

} // namespace cs

extern "C" {
CS_SQL_FUNCTION(cs_permit);
CS_SQL_FUNCTION(cs_try_permit);
}

using namespace cs;

/* cs_permit(key, permits, timeout_ms) - returns when the transaction has a permit, else 55P03. */
Datum cs_permit(PG_FUNCTION_ARGS)
{
	take_by_arguments(fcinfo, OnTimeout::kRaise);
	PG_RETURN_VOID();
}

/* cs_try_permit(key, permits, timeout_ms) - false instead of 55P03. */
Datum cs_try_permit(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(take_by_arguments(fcinfo, OnTimeout::kReturnFalse));
}
