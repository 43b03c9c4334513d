/*
 * lock_order.cpp - a graph behind a lock.
 */
#include "lock_order.hpp"

namespace cs {

Size LockOrder::Bytes(int most)
{
	return offsetof(LockOrder, graph) + OrderGraph::Bytes(static_cast<uint32>(most));
}

LockOrder *LockOrder::Create(void *memory, int most)
{
	auto *order = static_cast<LockOrder *>(memory);

	LWLockInitialize(&order->lock, LWLockNewTrancheId());
	order->generation = 1;
	order->told = false;
	OrderGraph::Create(order->graph, static_cast<uint32>(most));
	return order;
}

void LockOrder::register_lock()
{
	LWLockRegisterTranche(lock.tranche, "ConcurrencySafeLockOrder");
}

OrderGraph *LockOrder::Lock(LWLockMode mode)
{
	LWLockAcquire(&lock, mode);
	return reinterpret_cast<OrderGraph *>(graph);
}

void LockOrder::Unlock()
{
	LWLockRelease(&lock);
}

void LockOrder::Reset()
{
	Lock(LW_EXCLUSIVE)->Clear();
	generation++;
	told = false;
	Unlock();
}

} // namespace cs
