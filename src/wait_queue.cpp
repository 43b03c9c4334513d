/*
 * wait_queue.cpp - standing in a queue, and waking the first one in it.
 */
#include "wait_queue.hpp"
#include "quietly.hpp"

namespace cs {

namespace {

/*
 * Somebody who could not wake us, for want of memory or because it committed the
 * prepared transaction of another session, costs so much at most.
 */
constexpr int kLongestSleep = 1000;

struct Wakeup
{
	LOCKTAG lock;
	LOCKMODE mode;
	LOCKTAG queue;
};

constexpr int kFirstCapacity = 8;
Wakeup *wakeups;
int wakeup_count;
int wakeup_capacity;

void wake_first(void *queue)
{
	int count;
	VirtualTransactionId *first =
		GetLockConflicts(static_cast<const LOCKTAG *>(queue), kFirstInQueue, &count);

	for (int i = 0; i < count; i++)
		if (PGPROC *process = ProcessOf(first[i]))
			SetLatch(&process->procLatch);
	pfree(first);
}

/* Locks of (sub)transactions and portals were released; which of ours, the lock manager knows. */
void after_release(ResourceReleasePhase phase, [[maybe_unused]] bool is_commit,
				   [[maybe_unused]] bool is_top_level, [[maybe_unused]] void *arg)
{
	int kept = 0;

	if (phase != RESOURCE_RELEASE_AFTER_LOCKS)
		return;
	for (int i = 0; i < wakeup_count; i++)
	{
		Wakeup &wakeup = wakeups[i];

		if (HeldByThisSession(wakeup.lock, wakeup.mode))
			wakeups[kept++] = wakeup;
		else if (!IsQueueEmpty(wakeup.queue))
			RunQuietly(wake_first, &wakeup.queue);
	}
	wakeup_count = kept;
}

/* Since when the first one waits. */
TimestampTz waiting_since;

/* What pg_locks shows of those behind is for the first one in our views alone. */
void ShowWaitSince(TimestampTz start)
{
	pg_atomic_write_u64(&MyProc->waitStart, static_cast<uint64>(start));
}

/* One that is an error ends the wait. */
void heed_interrupts()
{
	if (InterruptPending)
		ShowWaitSince(0);
	CHECK_FOR_INTERRUPTS();
}

} // namespace

bool join_queue(const LOCKTAG &queue, const Key &key, TimeBudget &budget, bool keep_transaction)
{
	const TimestampTz start = GetCurrentTimestamp();
	const bool first = take_or_wait({queue, kFirstInQueue, false, key}, budget, keep_transaction);

	if (first)
		waiting_since = start;
	return first;
}

void leave_queue(const LOCKTAG &queue)
{
	ShowWaitSince(0);
	release_early(queue, kFirstInQueue);
}

void prepare_to_sleep()
{
	ResetLatch(MyLatch);
	/* The latch may have been set for one. */
	heed_interrupts();
}

void sleep_until_woken(int most_ms)
{
	const int sleep = most_ms < 0 ? kLongestSleep : Min(most_ms, kLongestSleep);

	/* Not once: any wait for a lock before this one, however short, clears it. */
	ShowWaitSince(waiting_since);
	/* Whoever looks sees a wait for a lock, as it is for those behind. */
	WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, sleep,
			  PG_WAIT_LOCK | LOCKTAG_USERLOCK);
	heed_interrupts();
}

void prepare_wakeup()
{
	if (wakeup_count < wakeup_capacity)
		return;
	if (wakeups == nullptr)
	{
		auto *first = static_cast<Wakeup *>(
			MemoryContextAlloc(TopMemoryContext, kFirstCapacity * sizeof(Wakeup)));

		RegisterResourceReleaseCallback(after_release, nullptr);
		wakeups = first;
		wakeup_capacity = kFirstCapacity;
		return;
	}

	const int capacity = 2 * wakeup_capacity;

	wakeups =
		static_cast<Wakeup *>(repalloc_huge(wakeups, static_cast<Size>(capacity) * sizeof(Wakeup)));
	wakeup_capacity = capacity;
}

void NoteWakeup(const LOCKTAG &lock, LOCKMODE mode, const LOCKTAG &queue)
{
	Assert(wakeup_count < wakeup_capacity);
	wakeups[wakeup_count++] = {lock, mode, queue};
}

} // namespace cs
