/*
 * wait_queue.hpp - waiting, first come first served, for what no single lock
 * stands for: a permit that any one of several sessions may give back, the end
 * of a lease.
 *
 * The queue is PostgreSQL's own, for a lock that whoever is first in it holds.
 * The first one sleeps until it is woken: whoever may have changed what it waits
 * for looks up, once its own locks are released, who holds the lock of the
 * queue. No memory is shared for that but the lock manager's.
 *
 * The first one waits for no lock, so PostgreSQL's deadlock detection ends at it.
 */
#pragma once

#include "lock_tag.hpp"
#include "lock_wait.hpp"

namespace cs {

/* The mode in which the first one holds the lock of the queue. */
inline constexpr LOCKMODE kFirstInQueue = AccessExclusiveLock;

/* Does nobody stand in the queue? */
inline bool IsQueueEmpty(const LOCKTAG &queue)
{
	return LockWaiterCount(&queue) == 0;
}

/*
 * Goes to the end of the queue of the key and waits until it is first; then it
 * is the (sub)transaction's place. False, and not in the queue, if the budget
 * is used up; with keep_transaction the transaction is then usable.
 */
bool join_queue(const LOCKTAG &queue, const Key &key, TimeBudget &budget, bool keep_transaction);

/* The first one leaves. */
void leave_queue(const LOCKTAG &queue);

/*
 * The first one looks for what it waits for between these two: it is then woken
 * also by what happens after it looked. Sleeps for at most that many
 * milliseconds (-1: no limit), sometimes for less without a reason.
 */
void prepare_to_sleep();
void sleep_until_woken(int most_ms);

/* Before this session takes a lock whose release others wait for: room for the note. */
void prepare_wakeup();

/*
 * When this session no longer holds that lock, in whatever way that comes, the
 * first one in the queue is woken.
 */
void NoteWakeup(const LOCKTAG &lock, LOCKMODE mode, const LOCKTAG &queue);

} // namespace cs
