/*
 * last_writers.cpp - the sets and their locks.
 */
#include "last_writers.hpp"

namespace cs {

namespace {

/*
 * Does every snapshot in the cluster, now and later, see the end of that
 * transaction? Neither allocates nor fails.
 */
bool IsSeenByAll(uint64 xid)
{
	const uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());

	/* What is older than half the circle of ids cannot be asked for, and nobody is. */
	return next - xid >= uint64{1} << 31 ||
		   GlobalVisCheckRemovableXid(nullptr, static_cast<TransactionId>(xid));
}

} // namespace

LastWriters *LastWriters::Create(void *memory)
{
	auto *writers = static_cast<LastWriters *>(memory);
	const int tranche = LWLockNewTrancheId();

	memset(memory, 0, Bytes());
	pg_atomic_init_u64(&writers->clock, 1);
	for (LWLockPadded &lock : writers->locks)
		LWLockInitialize(&lock.lock, tranche);
	return writers;
}

void LastWriters::register_locks()
{
	LWLockRegisterTranche(locks[0].lock.tranche, "ConcurrencySafeWriters");
}

uint64 LastWriters::Clock()
{
	return pg_atomic_read_u64(&clock);
}

uint64 LastWriters::AdvanceClock()
{
	return pg_atomic_add_fetch_u64(&clock, 1);
}

void LastWriters::Enter(const WriterKey &key, FullTransactionId xid, bool intent, uint64 began,
						uint64 ended)
{
	std::atomic<uint64> &last = newest[key.set];
	const Writer writer = {key.key, U64FromFullTransactionId(xid), ended, intent};

	LWLockAcquire(LockOf(key), LW_EXCLUSIVE);
	EnterWriter(sets[key.set], writer, began, IsSeenByAll);
	if (last.load(std::memory_order_relaxed) < writer.xid)
		last.store(writer.xid, std::memory_order_relaxed);
	LWLockRelease(LockOf(key));
}

WriterSet LastWriters::Read(const WriterKey &key)
{
	LWLockAcquire(LockOf(key), LW_SHARED);
	const WriterSet set = sets[key.set];

	LWLockRelease(LockOf(key));
	return set;
}

} // namespace cs
