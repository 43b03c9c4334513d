/*
 * deadlock_history.hpp - remembers the deadlocks in which a key took part.
 *
 * PostgreSQL resolves a deadlock by an error in one of its sessions, the
 * victim. There are three ways to learn of it:
 *
 * - The victim waited for a key: the lock room sees the error, also if somebody
 *   catches it later.
 * - It waited for a row or a table: the error is seen when it is logged.
 * - It did, and the error is not logged, because PL/pgSQL caught it or because
 *   of log_min_messages: then the server's statistics tell at the rollback that
 *   there was a deadlock. What it was about is gone; if all who wait for the
 *   victim at that moment wait for keys of it, these were a part.
 *
 * What remains unseen: an error that is not logged, with the key somewhere else
 * in the cycle, or with others that wait for rows of the victim, too, or before
 * PostgreSQL 15, or with track_counts off, or as the second one of a session that
 * calls none of our functions between the two and uses no savepoint; and a victim
 * that never loaded this library, where it is not preloaded.
 *
 * Nothing here raises an error, but for the log hook: out of memory.
 */
#pragma once

#include "key.hpp"
#include "postgres.hpp"

namespace cs {

/*
 * A wait for the key ended in this error, which is no longer on the server's
 * stack of errors. Writes the names of the keys into the detail that only the
 * server's log shows.
 */
void RecordDeadlock(ErrorData *error, const Key &key);

/* What deadlocks_not_yet_reported() was when a deadlock was looked at; -1 = not known yet. */
extern int64 deadlocks_looked_at;
void LookAtDeadlocksSoFar();

/*
 * Before keys are locked: what happened so far is nobody's deadlock any more.
 * The count falls when it is reported, between transactions, and grows with
 * deadlocks alone: if none was there, none has to be looked at.
 */
inline void PrepareDeadlockHistory()
{
	if (deadlocks_looked_at != 0)
		LookAtDeadlocksSoFar();
}

/* Watches the log and rollbacks; called once, when the library is loaded. */
void watch_deadlocks();

} // namespace cs
