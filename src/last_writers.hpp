/*
 * last_writers.hpp - for every key, in shared memory: the last transaction that
 * wrote while it held the key, as far as some snapshot may not see its work.
 *
 * A fixed array of sets (writer_set.hpp); a key's lock tag and database choose
 * its set. Keys that share a lock share their writers.
 */
#pragma once

#include <atomic>

#include "key.hpp"
#include "postgres.hpp"
#include "writer_set.hpp"

namespace cs {

/* A key of a database, as the sets tell keys apart. */
struct WriterKey
{
	uint32 set;
	uint64 key;
};

/* Number of sets: 24 thousand writers that are not yet seen by all, in 1 MB. */
inline constexpr uint32 kWriterSets = 8192;

inline WriterKey MakeWriterKey(Oid database, const KeyTag &tag)
{
	/* The tag is a hash; databases are spread by a multiplication with 2^64 / golden ratio. */
	const uint64 spread = database * 0x9e3779b97f4a7c15U;

	return {(tag.field4 ^ static_cast<uint32>(spread >> 32)) % kWriterSets,
			(uint64{tag.field3} << 32 | tag.field2) ^ spread};
}

static_assert(std::atomic<uint64>::is_always_lock_free);

class LastWriters
{
public:
	static Size Bytes()
	{
		return sizeof(LastWriters);
	}
	static LastWriters *Create(void *memory);

	/* Gives the locks their name; once in every process. */
	void register_locks();

	/* The clock of writer_set.hpp: read before a writer ends, advanced after it. */
	uint64 Clock();
	uint64 AdvanceClock();

	void Enter(const WriterKey &key, FullTransactionId xid, bool intent, uint64 began,
			   uint64 ended);

	/* Before a lock is asked for: lets the memory come while the lock manager works. */
	void Prefetch(const WriterKey &key) const
	{
		__builtin_prefetch(&newest[key.set]);
	}

	/* Had every writer of the key ended before that xid began? May say no without need. */
	bool AllBefore(const WriterKey &key, TransactionId xid) const
	{
		const uint64 last = newest[key.set].load(std::memory_order_relaxed);

		return last == 0 || TransactionIdPrecedes(static_cast<TransactionId>(last), xid);
	}

	/* The set of the key as it is now. */
	WriterSet Read(const WriterKey &key);

	/* Are the prepared transactions entered that were there before this memory? */
	bool KnowsOldPrepared() const
	{
		return knows_old_prepared.load(std::memory_order_acquire);
	}
	void SetKnowsOldPrepared()
	{
		knows_old_prepared.store(true, std::memory_order_release);
	}

private:
	static constexpr uint32 kLocks = 64;

	LWLock *LockOf(const WriterKey &key)
	{
		return &locks[key.set % kLocks].lock;
	}

	pg_atomic_uint64 clock;
	std::atomic<bool> knows_old_prepared;
	LWLockPadded locks[kLocks];
	/*
	 * The highest xid that was ever entered into each set. Every grant looks at it, and hardly any
	 * at the set: apart from the sets, these lie in few pages.
	 */
	std::atomic<uint64> newest[kWriterSets];
	WriterSet sets[kWriterSets];
};

} // namespace cs
