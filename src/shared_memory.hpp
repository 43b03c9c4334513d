/*
 * shared_memory.hpp - what all sessions share: the directory, the ring of
 * deadlocks, the last writers, the orders of locks and the counts of cs_run.
 *
 * Preloaded, the memory is there from the server's start. On PostgreSQL 17 and
 * later the first session that needs it makes it otherwise. In all other cases
 * there is none, and everything but names, statistics and history works
 * without. A crash of any session clears it, as it does PostgreSQL's own.
 */
#pragma once

#include "directory.hpp"

#include "deadlock_ring.hpp"
#include "last_writers.hpp"
#include "lock_order.hpp"
#include "run_counters.hpp"

namespace cs {

/* Null as long as there is no shared memory. */
extern Directory *directory;
extern DeadlockRing *deadlock_ring;
extern LastWriters *last_writers;
extern LockOrder *lock_order;
extern RunCounters *run_counters;

/* When the statistics were reset last, or the memory was made. */
TimestampTz statistics_reset_at();

/* All counts of the directory and of cs_run to zero. */
void reset_statistics();

/* Called once, when the library is preloaded. */
void reserve_shared_memory();

/* Makes or finds the memory where that is possible without preloading. */
void find_shared_memory();

/* For all that may come before the first lock of a session; costs a comparison. */
inline void attach_shared_memory()
{
	if (directory == nullptr)
		find_shared_memory();
}

/* 55000 if there is no shared memory, with the hint to preload the library. */
void require_shared_memory();

} // namespace cs
