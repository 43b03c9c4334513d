/*
 * deadlock_ring.cpp - a ring under a lock.
 */
#include "deadlock_ring.hpp"

namespace cs {

Size DeadlockRing::Bytes(int capacity)
{
	return offsetof(DeadlockRing, entries) + static_cast<Size>(capacity) * sizeof(Deadlock);
}

DeadlockRing *DeadlockRing::Create(void *memory, int capacity)
{
	auto *ring = static_cast<DeadlockRing *>(memory);

	memset(memory, 0, Bytes(capacity));
	ring->capacity = capacity;
	LWLockInitialize(&ring->lock, LWLockNewTrancheId());
	return ring;
}

void DeadlockRing::register_lock()
{
	LWLockRegisterTranche(lock.tranche, "ConcurrencySafeDeadlocks");
}

void DeadlockRing::Add(const Deadlock &deadlock)
{
	if (capacity == 0)
		return;
	LWLockAcquire(&lock, LW_EXCLUSIVE);
	entries[recorded++ % static_cast<uint64>(capacity)] = deadlock;
	LWLockRelease(&lock);
}

uint64 DeadlockRing::Count()
{
	LWLockAcquire(&lock, LW_SHARED);
	const uint64 count = recorded;

	LWLockRelease(&lock);
	return count;
}

bool DeadlockRing::Get(uint64 number, Deadlock *out)
{
	LWLockAcquire(&lock, LW_SHARED);
	const bool there =
		number > 0 && number <= recorded && recorded - number < static_cast<uint64>(capacity);

	if (there)
		*out = entries[(number - 1) % static_cast<uint64>(capacity)];
	LWLockRelease(&lock);
	return there;
}

} // namespace cs
