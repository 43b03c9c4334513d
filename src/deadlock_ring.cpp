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

void DeadlockRing::Register()
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

int DeadlockRing::Copy(Deadlock *out, int most)
{
	int copied = 0;

	if (capacity == 0)
		return 0;
	LWLockAcquire(&lock, LW_SHARED);
	for (uint64 i = recorded; i > 0 && copied < Min(most, capacity); i--)
		out[copied++] = entries[(i - 1) % static_cast<uint64>(capacity)];
	LWLockRelease(&lock);
	return copied;
}

} // namespace cs
