/*
 * lock_wait.cpp - the wait has LockTimeout set for its time and, where the
 * transaction has to stay usable after a timeout, runs in a subtransaction of
 * its own.
 *
 * LockTimeout, CurrentResourceOwner and, before PG 16, update_process_title
 * are the globals that change here. The owner is put back where the call goes on;
 * an error leaves that to the abort and to whoever caught it, as the server
 * does itself. The others are put back on every path.
 */
#include "lock_wait.hpp"
#include "caught_error.hpp"
#include "deadlock_history.hpp"

namespace cs {

namespace {

/*
 * The part of a wait that may fail: in the queue, until the lock is granted.
 * With a subtransaction, that one has ended when this returns.
 */
void stand_in_queue(const WantedLock &wanted, bool subtransaction)
{
	lock_acquire(wanted.tag, wanted.mode, wanted.session, false);
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
ErrorData *clean_up_after_wait(const WantedLock &wanted, bool subtransaction, MemoryContext context)
{
	LockErrorCleanup();
	/* Granted all the same, just now: no rollback would ever release it. */
	if (wanted.session && HeldByThisSession(wanted.tag, wanted.mode))
		LockRelease(&wanted.tag, wanted.mode, true);

	ErrorData *error = take_caught_error(context, subtransaction);

	if (error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED)
		RecordDeadlock(error, wanted.key);
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

void TimeBudget::HeedLockTimeout()
{
	if (limit < 0 && LockTimeout > 0)
		limit = LockTimeout;
}

ErrorData *wait_in_queue(const WantedLock &wanted, int limit_ms, bool keep_transaction)
{
	const int lock_timeout = LockTimeout;
	const bool statement_timer = get_timeout_active(STATEMENT_TIMEOUT);
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = nullptr;

	/* Nobody shall have to wait for a snapshot of ours that nothing needs. */
	InvalidateCatalogSnapshotConditionally();
	if (keep_transaction)
	{
		BeginInternalSubTransaction(nullptr);
		MemoryContextSwitchTo(context);
	}

	const bool title = ShowWaitsInTitle(false);

	PG_TRY();
	{
		SwitchToTransactionOwner();
		LockTimeout = limit_ms < 0 ? lock_timeout : limit_ms;
		stand_in_queue(wanted, keep_transaction);
		LockTimeout = lock_timeout;
		ShowWaitsInTitle(title);
	}
	PG_CATCH();
	{
		LockTimeout = lock_timeout;
		ShowWaitsInTitle(title);
		error = clean_up_after_wait(wanted, keep_transaction, context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (keep_transaction && error != nullptr && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		raise_hidden_statement_timeout(statement_timer);
	return error;
}

bool settle_wait(ErrorData *error)
{
	if (error == nullptr)
		return true;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

bool take_or_wait(const WantedLock &wanted, TimeBudget &budget, bool keep_transaction)
{
	ResourceOwner former = SwitchToTransactionOwner();
	const LockAcquireResult result = lock_acquire(wanted.tag, wanted.mode, wanted.session, true);

	CurrentResourceOwner = former;
	if (result != LOCKACQUIRE_NOT_AVAIL)
		return true;

	const int left = budget.Left();

	return left != 0 && settle_wait(wait_in_queue(wanted, left, keep_transaction));
}

void release_early(const LOCKTAG &tag, LOCKMODE mode)
{
	ResourceOwner former = SwitchToTransactionOwner();

	LockRelease(&tag, mode, false);
	CurrentResourceOwner = former;
}

} // namespace cs
