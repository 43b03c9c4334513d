/*
 * freshness.hpp - does the snapshot show what the last holder of a key wrote?
 *
 * A transaction that wrote anything enters itself, at its end, for each key
 * that it holds exclusively or with an intent to write below. Whoever is
 * granted such a key compares the last writer with the snapshots in use.
 *
 * Checked for concurrency_safe.check_snapshot; needs shared memory.
 */
#pragma once

#include "last_writers.hpp"
#include "lock_request.hpp"
#include "settings.hpp"
#include "shared_memory.hpp"

namespace cs {

inline WriterKey MakeWriterKey(const KeyTag &tag)
{
	return MakeWriterKey(MyDatabaseId, tag);
}

inline bool ChecksSnapshots()
{
	return check_snapshot != 0 && last_writers != nullptr;
}

/* Before the lock is asked for. */
inline void PrefetchLastWriter(const Key &key)
{
	if (ChecksSnapshots())
		last_writers->Prefetch(MakeWriterKey(key.tag));
}

void find_old_writers();

/* Before the first lock of a call, and before a prepared transaction is committed. */
inline void know_old_writers()
{
	if (last_writers != nullptr && !last_writers->KnowsOldPrepared())
		find_old_writers();
}

void check_writer(const LockRequest &request);

/*
 * A lock was granted. If a snapshot in use does not show what its last holder
 * wrote: 40001 in REPEATABLE READ and SERIALIZABLE; in READ COMMITTED, whose
 * next statement has a new snapshot, a WARNING, and only if the statement that
 * took the lock, or one that called it, reads tables itself.
 */
inline void check_snapshot_after_grant(const LockRequest &request)
{
	/* No snapshot of this session is older than TransactionXmin. */
	if (ChecksSnapshots() &&
		!last_writers->AllBefore(MakeWriterKey(request.key.tag), TransactionXmin))
		check_writer(request);
}

/* A lock in session scope is about to be given back, before the transaction ends. */
void note_early_release(const KeyTag &tag, LOCKMODE mode);

/* Registers for the ends of transactions; called once, when the library is loaded. */
void watch_writers();

} // namespace cs
