/*
 * held.hpp - what this session took: a note beside the lock manager's truth.
 *
 * The lock manager cannot be asked which of our locks a session holds, and
 * both the limit on keys and cs_unlock_all need to know. So each lock that is
 * taken is noted: locks in transaction scope in an array that ends with the
 * transaction, locks in session scope in a hash table with their counts.
 *
 * Invariant: every lock on a key that this session holds is noted. The reverse
 * does not hold: DISCARD ALL and pg_advisory_unlock_all() release session
 * locks without a word to us. Whoever needs the exact set asks the lock
 * manager about each note (HeldByThisSession).
 *
 * Room for a note is made before its lock is taken, so that noting it cannot
 * fail. A lock that is then not granted may leave an empty note behind.
 */
#pragma once

#include "key.hpp"
#include "lock_mode.hpp"

namespace cs {

/* The tag of a key in the current database, as the lock manager knows it. */
LOCKTAG LockTag(const KeyTag &tag);

/* Registers for the ends of transactions; called once, when the library is loaded. */
void watch_transactions();

/* Makes room for the note on one lock. */
void reserve_note(const KeyTag &tag, LOCKMODE mode, Scope scope);

/* A lock in transaction scope that was not held before, in that mode, was granted. */
void NoteTransactionLock(const KeyTag &tag, LOCKMODE mode);

/* The lock in transaction scope that was noted last was given back. */
void ForgetLastTransactionLock();

/* One more hold in session scope; first: the lock was not held before, in that mode. */
void NoteSessionLock(const KeyTag &tag, LOCKMODE mode, bool first);

/* Does this session hold the key in session scope in that mode? */
bool HeldInSessionScope(const KeyTag &tag, LOCKMODE mode);

/* Gives one hold in session scope back; false if there is none. Other holds stay. */
bool release_session_lock(const KeyTag &tag, LOCKMODE mode);

/* Gives all holds in session scope back, on keys and on nothing else; returns their number. */
int release_all_session_locks();

/* The strongest mode in which this session holds the key in any scope, or NoLock. */
LOCKMODE StrongestHeldMode(const KeyTag &tag);

/*
 * The number of keys that this session holds. Where the notes alone show that
 * there are at most `enough`, that upper bound is the answer, else the exact
 * number.
 */
long count_held_keys(long enough);

} // namespace cs
