/*
 * lock_wait.hpp - a wait for one lock in PostgreSQL's queue: how long it may
 * last, and how it ends.
 */
#pragma once

#include "key.hpp"
#include "postgres.hpp"

namespace cs {

enum class OnTimeout
{
	kRaise,      /* error 55P03 that names the key and its holders */
	kReturnFalse /* and the transaction is still usable */
};

/*
 * The limit on the waits of a whole call. The clock is read for the first time
 * when a wait is about to begin: a call that never waits does not pay for it.
 */
class TimeBudget
{
public:
	/* 0 = do not wait, -1 = no limit but lock_timeout */
	explicit TimeBudget(int limit_ms) : limit(limit_ms)
	{
	}

	int Limit() const
	{
		return limit;
	}

	/* Milliseconds for the next wait: 0 = nothing is left, -1 = no limit. */
	int Left();

	/* For a wait that lock_timeout does not end by itself: makes it the limit if there is no other.
	 */
	void HeedLockTimeout();

private:
	int limit;
	instr_time start = {};
};

/* The lock to wait for, and the key that it is about. */
struct WantedLock
{
	LOCKTAG tag;
	LOCKMODE mode;
	bool session; /* in session scope, else the current (sub)transaction owns it */
	Key key;
};

/* 0 instead of milliseconds: not even lock_timeout ends the wait. */
inline constexpr int kNoTimeout = 0;

/*
 * Waits for at most limit_ms milliseconds or, if that is -1, as long as
 * lock_timeout allows. Null if the lock was granted; else the error, which was
 * not raised further, and the lock is not held. With keep_transaction the
 * transaction is still usable after a timeout: that costs a subtransaction.
 */
ErrorData *wait_in_queue(const WantedLock &wanted, int limit_ms, bool keep_transaction);

/* True if granted, false after a timeout; raises any other error again. */
bool settle_wait(ErrorData *error);

/* The same, but without a wait if the lock is free; false if the budget is used up. */
bool take_or_wait(const WantedLock &wanted, TimeBudget &budget, bool keep_transaction);

/* Gives back one hold of a lock that the transaction took. */
void release_early(const LOCKTAG &tag, LOCKMODE mode);

/*
 * The transaction owns its locks, not the portal that runs at the moment, as
 * it would be by default: a cursor outlives a savepoint, and a lock taken while
 * it was fetched from after that savepoint would survive the rollback to it.
 * Returns the owner to be put back.
 */
inline ResourceOwner SwitchToTransactionOwner()
{
	ResourceOwner former = CurrentResourceOwner;

	CurrentResourceOwner = CurTransactionResourceOwner;
	return former;
}

} // namespace cs
