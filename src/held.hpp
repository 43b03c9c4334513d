/*
 * held.hpp - what this session took: notes beside the lock manager's truth.
 *
 * The lock manager cannot be asked which of our locks a session holds, and
 * the limit on keys, cs_unlock_all and the checks need to know. So each lock is noted:
 * locks in transaction scope in an array that ends with the transaction, locks
 * in session scope in a hash table.
 *
 * Invariant: every lock on a key that this session holds is noted. The reverse
 * does not hold: DISCARD ALL and pg_advisory_unlock_all() release session locks
 * without a word to us, and a lock that was asked for in vain may leave a note.
 * So a note alone proves nothing; how often a lock is held is always asked of
 * the lock manager.
 *
 * The note, or the room for it, is there before the lock is taken, so that no
 * failure can come after the grant.
 */
#pragma once

#include "lock_request.hpp"
#include "lock_tag.hpp"

namespace cs {

/* Registers for the ends of transactions; called once, when the library is loaded. */
void watch_transactions();

/* Before a lock is asked for: notes it in session scope, else makes room for the note. */
void prepare_note(const LockRequest &request, Scope scope);

/* A lock in transaction scope that was not held before, in that mode, was granted. */
void NoteTransactionLock(const LockRequest &request);

/* The lock in transaction scope that was noted last was given back. */
void ForgetLastTransactionLock();

/* How often this session holds the key in session scope in that mode. */
int64 session_holds(const KeyTag &tag, LOCKMODE mode);

/* A lock that this session holds. */
struct HeldKey
{
	KeyTag tag;
	LOCKMODE mode;
	Scope scope;
	uint32 order_class; /* lower half of the hash of its class, 0 = not known */
};

/* Calls visit for each of them; a lock in session scope may be released meanwhile. */
void VisitHeldKeys(void (*visit)(const HeldKey &, void *), void *arg);

/* Changes whenever a lock may have been released, but for those released without our knowing. */
extern uint64 held_losses;

/* Drops the notes on locks in session scope that are no longer held. */
void drop_stale_notes();

/* The strongest mode in which this session holds the key in any scope, or NoLock. */
LOCKMODE StrongestHeldMode(const KeyTag &tag);

/* Does this session hold any key? By the notes alone: true may be out of date. */
bool MayHoldKeys();

/*
 * The number of keys that this session holds. Where the notes alone show that
 * there are at most `enough`, that upper bound is the answer, else the exact
 * number.
 */
long count_held_keys(long enough);

} // namespace cs
