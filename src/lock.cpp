/*
 * lock.cpp - the way of a request through PostgreSQL's lock manager.
 *
 * First every lock is asked for without waiting. Only a conflict pays for
 * more (lock_wait.hpp).
 */
#include "lock.hpp"
#include "deadlock_history.hpp"
#include "freshness.hpp"
#include "held.hpp"
#include "order.hpp"
#include "settings.hpp"
#include "statistics.hpp"
#include "wait_error.hpp"

namespace cs {

namespace {

void NoteGrant(LockRequest &request, Scope scope, bool first)
{
	request.first = first;
	if (scope == Scope::kTransaction && first)
		NoteTransactionLock(request);
	NoteOrder(request);
	/* Taking a key again changes nothing in transaction scope, and counts in session scope. */
	if (scope == Scope::kSession || first)
		CountGrant(request.key, scope);
}

/* Gives back what this call took: one hold each, the last one first. */
void give_back(const LockRequest *requests, int count, Scope scope)
{
	ResourceOwner former = SwitchToTransactionOwner();

	while (count-- > 0)
	{
		const LockRequest &request = requests[count];
		const LOCKTAG tag = LockTag(request.key.tag);

		LockRelease(&tag, request.mode, scope == Scope::kSession);
		if (scope == Scope::kTransaction && request.first)
			ForgetLastTransactionLock();
	}
	CurrentResourceOwner = former;
}

/* Takes the lock if that needs no wait. */
bool take_at_once(LockRequest &request, Scope scope)
{
	ErrorContextCallback description = {error_context_stack, describe_request, &request};

	PrefetchStatistics(request.key);
	PrefetchLastWriter(request.key);
	prepare_note(request, scope);
	error_context_stack = &description;

	ResourceOwner former = SwitchToTransactionOwner();
	const LockAcquireResult result =
		lock_acquire(LockTag(request.key.tag), request.mode, scope == Scope::kSession, true);

	CurrentResourceOwner = former;
	error_context_stack = description.previous;
	if (result == LOCKACQUIRE_NOT_AVAIL)
		return false;
	NoteGrant(request, scope, result == LOCKACQUIRE_OK);
	return true;
}

WaitEnd WaitEndOf(const ErrorData *error)
{
	switch (error->sqlerrcode)
	{
		case ERRCODE_LOCK_NOT_AVAILABLE:
			return WaitEnd::kTimedOut;
		case ERRCODE_T_R_DEADLOCK_DETECTED:
			return WaitEnd::kDeadlocked;
		default:
			return WaitEnd::kOther;
	}
}

/* False after a timeout, and the transaction is then usable if that was asked for. */
bool wait_for_lock(LockRequest &request, Scope scope, int limit_ms, bool keep_transaction)
{
	const WantedLock wanted = {LockTag(request.key.tag), request.mode, scope == Scope::kSession,
							   request.key};
	ErrorContextCallback description = {error_context_stack, describe_request, &request};

	BeginWait(request.key);
	error_context_stack = &description;

	ErrorData *error = wait_in_queue(wanted, limit_ms, keep_transaction);

	error_context_stack = description.previous;
	EndWait(error == nullptr ? WaitEnd::kGranted : WaitEndOf(error));
	if (!settle_wait(error))
		return false;
	NoteGrant(request, scope, true);
	return true;
}

bool take_lock(LockRequest &request, const LockOptions &options, TimeBudget &budget)
{
	if (take_at_once(request, options.scope))
		return true;

	const int left = budget.Left();

	if (left == 0)
		CountRefusal(request.key);
	else if (wait_for_lock(request, options.scope, left,
						   options.on_timeout == OnTimeout::kReturnFalse))
		return true;
	if (options.on_timeout == OnTimeout::kRaise)
		raise_lock_timeout(request, budget.Limit() < 0 ? LockTimeout : budget.Limit());
	return false;
}

/* Refuses a call that would make this session hold too many keys. */
void check_key_limit(const LockRequest *requests, int count)
{
	const long limit = MaxKeysPerSession();

	if (limit < 0)
		return;

	const long held = count_held_keys(limit - count);

	if (held + count <= limit)
		return;

	long wanted = 0;

	for (int i = 0; i < count; i++)
		if (StrongestHeldMode(requests[i].key.tag) == NoLock)
			wanted++;
	if (wanted > 0 && held + wanted > limit)
		raise_too_many_keys(held, wanted, limit);
}

/* What may fail, or has to be known, before a lock is held and counted. */
void prepare_to_observe()
{
	attach_shared_memory();
	tell_collision();
	PrepareDeadlockHistory();
	know_old_writers();
}

void check_snapshots(const LockRequest *requests, int count)
{
	for (int i = 0; i < count; i++)
		check_snapshot_after_grant(requests[i]);
}

/* After an error, a rollback gives the locks back, but for those in session scope. */
void check_snapshots_in_scope(const LockRequest *requests, int count, Scope scope)
{
	if (scope == Scope::kTransaction)
	{
		check_snapshots(requests, count);
		return;
	}
	PG_TRY();
	{
		check_snapshots(requests, count);
	}
	PG_CATCH();
	{
		give_back(requests, count, scope);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Several locks, all or none. */
bool take_several_locks(LockRequest *requests, int count, const LockOptions &options,
						TimeBudget &budget)
{
	volatile int taken = 0;

	PG_TRY();
	{
		while (taken < count && take_lock(requests[taken], options, budget))
		{
			taken = taken + 1;
			if (taken + 1 < count)
				AnnounceKey(requests[taken + 1].key);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_CATCH();
	{
		/* A rollback gives transaction locks back, but nothing else would these. */
		if (options.scope == Scope::kSession)
			give_back(requests, taken, options.scope);
		PG_RE_THROW();
	}
	PG_END_TRY();

	if (taken == count)
		return true;
	give_back(requests, taken, options.scope);
	return false;
}

} // namespace

void prepare_to_lock(const LockRequest *requests, int count)
{
	prepare_to_observe();
	check_key_limit(requests, count);
}

bool take_locks(LockRequest *requests, int count, const LockOptions &options, TimeBudget &budget)
{
	if (count > 0)
		AnnounceKey(requests[0].key);
	prepare_to_lock(requests, count);
	check_lock_order(requests, count, budget.Limit() != 0);

	const bool taken = count == 1 ? take_lock(requests[0], options, budget)
								  : take_several_locks(requests, count, options, budget);

	if (taken && !options.alone)
		check_snapshots_in_scope(requests, count, options.scope);
	return taken;
}

Datum take_available_locks(LockRequest *requests, int count, int most, const LockOptions &options,
						   Datum (*make_answer)(const LockRequest *taken, int count))
{
	const Scope scope = options.scope;
	volatile int taken = 0;
	Datum answer;

	prepare_to_observe();
	check_lock_order(requests, count, false);
	PG_TRY();
	{
		for (int i = 0; i < count && taken < most; i++)
		{
			CHECK_FOR_INTERRUPTS();
			check_key_limit(&requests[i], 1);
			if (!take_at_once(requests[i], scope))
				continue;
			requests[taken] = requests[i];
			taken = taken + 1;
		}
		if (!options.alone)
			check_snapshots(requests, taken);
		answer = make_answer(requests, taken);
	}
	PG_CATCH();
	{
		if (scope == Scope::kSession)
			give_back(requests, taken, scope);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return answer;
}

} // namespace cs
