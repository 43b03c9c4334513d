/*
 * lock.cpp - the way of a request through PostgreSQL's lock manager.
 *
 * First every lock is asked for without waiting. Only a conflict pays for
 * more: the wait has LockTimeout set for its time, names the key in whatever
 * is reported meanwhile and, where the transaction has to stay usable after a
 * timeout, runs in a subtransaction of its own.
 *
 * LockTimeout and CurrentResourceOwner are the globals that change here.
 * LockTimeout is put back on every path. The owner is put back where the call
 * goes on; an error leaves that to the abort and to whoever caught it, as the
 * server does itself.
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

/*
 * The transaction owns its locks, not the portal that runs at the moment, as
 * it would be by default: a cursor outlives a savepoint, and a lock taken while
 * it was fetched from after that savepoint would survive the rollback to it.
 * Returns the owner to be put back.
 */
ResourceOwner SwitchToTransactionOwner()
{
	ResourceOwner former = CurrentResourceOwner;

	CurrentResourceOwner = CurTransactionResourceOwner;
	return former;
}

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

/*
 * The part of a wait that may fail: in the queue, until the lock is granted.
 * With a subtransaction, that one has ended when this returns.
 */
void stand_in_queue(const LOCKTAG &tag, LOCKMODE mode, bool session, bool subtransaction)
{
	lock_acquire(tag, mode, session, false);
	/*
	 * The timer may have fired in the instant in which the lock was granted.
	 * The cancel that is pending then has to come now, while it can be told
	 * from others, and not after the call reported success.
	 */
	CHECK_FOR_INTERRUPTS();
	if (subtransaction)
		ReleaseCurrentSubTransaction();
}

/*
 * Puts the session back to where it was before the wait that failed, and
 * returns the error.
 */
ErrorData *clean_up_after_wait(const LockRequest &request, bool session, bool subtransaction,
							   MemoryContext context)
{
	const LOCKTAG tag = LockTag(request.key.tag);

	LockErrorCleanup();
	/* Granted all the same, just now: no rollback would ever release it. */
	if (session && HeldByThisSession(tag, request.mode))
		LockRelease(&tag, request.mode, true);

	MemoryContextSwitchTo(context);
	ErrorData *error = CopyErrorData();

	FlushErrorState();
	if (error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED)
		RecordDeadlock(error, request.key);
	if (subtransaction)
		RollbackAndReleaseCurrentSubTransaction();
	return error;
}

/* Both timers may fire during one wait; the server then reports ours alone. */
void raise_hidden_statement_timeout(bool armed_before)
{
	CHECK_FOR_INTERRUPTS();
	if (armed_before && !get_timeout_active(STATEMENT_TIMEOUT))
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED),
						errmsg("canceling statement due to statement timeout")));
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

/*
 * Waits in PostgreSQL's queue for at most limit_ms, or, if that is -1, as long
 * as lock_timeout allows. False after a timeout, and the transaction is then
 * usable if a subtransaction was asked for.
 */
bool wait_for_lock(LockRequest &request, Scope scope, int limit_ms, bool subtransaction)
{
	const LOCKTAG tag = LockTag(request.key.tag);
	const bool session = scope == Scope::kSession;
	const int lock_timeout = LockTimeout;
	const bool statement_timer = get_timeout_active(STATEMENT_TIMEOUT);
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorContextCallback description = {error_context_stack, describe_request, &request};
	ErrorData *volatile error = nullptr;

	/* Nobody shall have to wait for a snapshot of ours that nothing needs. */
	InvalidateCatalogSnapshotConditionally();
	if (subtransaction)
	{
		BeginInternalSubTransaction(nullptr);
		MemoryContextSwitchTo(context);
	}
	BeginWait(request.key);
	PG_TRY();
	{
		error_context_stack = &description;
		SwitchToTransactionOwner();
		LockTimeout = limit_ms < 0 ? lock_timeout : limit_ms;
		stand_in_queue(tag, request.mode, session, subtransaction);
		LockTimeout = lock_timeout;
	}
	PG_CATCH();
	{
		LockTimeout = lock_timeout;
		error = clean_up_after_wait(request, session, subtransaction, context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	EndWait(error == nullptr ? WaitEnd::kGranted : WaitEndOf(error));
	if (error == nullptr)
	{
		NoteGrant(request, scope, true);
		return true;
	}
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	FreeErrorData(error);
	if (subtransaction)
		raise_hidden_statement_timeout(statement_timer);
	return false;
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

int TimeBudget::Left()
{
	if (limit <= 0)
		return limit;
	if (INSTR_TIME_IS_ZERO(start))
	{
		INSTR_TIME_SET_CURRENT(start);
		return limit;
	}

	instr_time elapsed;

	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, start);

	const int64 left_us =
		static_cast<int64>(limit) * 1000 - static_cast<int64>(INSTR_TIME_GET_MICROSEC(elapsed));

	/* A part of a millisecond counts as one. */
	return left_us <= 0 ? 0 : static_cast<int>((left_us + 999) / 1000);
}

bool take_locks(LockRequest *requests, int count, const LockOptions &options, TimeBudget &budget)
{
	prepare_to_observe();
	check_key_limit(requests, count);
	check_lock_order(requests, count, budget.Limit() != 0);

	const bool taken = count == 1 ? take_lock(requests[0], options, budget)
								  : take_several_locks(requests, count, options, budget);

	if (taken && !options.alone)
		check_snapshots_in_scope(requests, count, options.scope);
	return taken;
}

int take_available_locks(LockRequest *requests, int count, int most, const LockOptions &options)
{
	const Scope scope = options.scope;
	volatile int taken = 0;

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
	}
	PG_CATCH();
	{
		if (scope == Scope::kSession)
			give_back(requests, taken, scope);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return taken;
}

} // namespace cs
