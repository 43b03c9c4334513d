/*
 * lease_lock.hpp - the locks that order what happens to a lease.
 *
 * Two side locks, which live as long as a transaction:
 *
 *   the lock of the lease    granting excludes all else; renewing and releasing
 *                            exclude each other; checking a token excludes
 *                            granting alone, so that nobody can take the lease
 *                            over before the checker has committed
 *   the queue of the lease   who waits, first come first served
 */
#pragma once

#include "key.hpp"
#include "lock_wait.hpp"

namespace cs {

/* Each of them conflicts with all that the former does. */
inline constexpr LOCKMODE kCheck = RowShareLock;
inline constexpr LOCKMODE kRenew = ShareUpdateExclusiveLock;
inline constexpr LOCKMODE kGrant = ExclusiveLock;

struct Lease
{
	Key key;
	LOCKTAG lock;
	LOCKTAG queue;
};

Lease LeaseOf(const Key &key);

/*
 * Takes the lock of the lease, for the (sub)transaction; false if the budget is
 * used up. It counts as a key for concurrency_safe.max_keys_per_session: 53400.
 */
bool take_lease_lock(const Lease &lease, LOCKMODE mode, TimeBudget &budget, bool keep_transaction);

/* Gives back what the last take_lease_lock took. */
void release_lease_lock(const Lease &lease, LOCKMODE mode);

/* Has the transaction the lock in that mode, or in one that excludes more? */
bool HasLeaseLock(const Lease &lease, LOCKMODE mode);

/* For calls without a timeout of their own: 55P03 after concurrency_safe.default_timeout. */
void require_lease_lock(const Lease &lease, LOCKMODE mode);

/* Error context callback: names the key of the Lease in arg. */
void describe_lease(void *arg);

} // namespace cs
