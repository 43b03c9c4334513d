/*
 * lock.hpp - take, try, wait with a limit: the only room that asks
 * PostgreSQL's lock manager for a lock.
 */
#pragma once

#include "lock_request.hpp"
#include "lock_wait.hpp"

namespace cs {

struct LockOptions
{
	Scope scope;
	OnTimeout on_timeout;
	/* Nothing is read in this transaction: no check of what its snapshot shows. */
	bool alone = false;
};

/*
 * Takes all the locks in the order given, or none of them. False only with
 * kReturnFalse. Besides 55P03 it raises 53400 (too many keys in this session)
 * before the first lock, 53200 (lock table full), what the checks of orders and snapshots
 * raise (order.hpp, freshness.hpp), and what may happen to
 * anybody who waits: 40P01 deadlock, 57014 cancel or statement timeout. Each
 * names the key. After an error none of the locks is newly held: those in
 * session scope are given back here, the others by the rollback.
 */
bool take_locks(LockRequest *requests, int count, const LockOptions &options, TimeBudget &budget);

/*
 * Before locks are asked for, otherwise than here, too: what may fail, or has to be
 * known, before one is held and counted; 53400 if there would be too many.
 */
void prepare_to_lock(const LockRequest *requests, int count);

/*
 * Takes, in the order given and without waiting, up to `most` of the locks and
 * moves those it got to the front. Returns the answer made from them and their number.
 * Raises what take_locks raises for want of room, and for a snapshot, and what
 * make_answer raises. After an error none of them is newly held, as with take_locks.
 */
Datum take_available_locks(LockRequest *requests, int count, int most, const LockOptions &options,
						   Datum (*make_answer)(const LockRequest *taken, int count));

} // namespace cs
