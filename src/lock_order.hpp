/*
 * lock_order.hpp - the graph of lock orders in shared memory, with its lock.
 *
 * Sessions ask it once for each edge, and then know it until the generation
 * changes.
 */
#pragma once

#include <atomic>

#include "order_graph.hpp"
#include "postgres.hpp"

namespace cs {

class LockOrder
{
public:
	static Size Bytes(int most);
	static LockOrder *Create(void *memory, int most);

	/* Gives the lock its name; once in every process. */
	void register_lock();

	/* Changes when all is forgotten. */
	uint32 Generation() const
	{
		return generation.load(std::memory_order_relaxed);
	}

	/* The graph, to be used until Unlock. */
	OrderGraph *Lock(LWLockMode mode);
	void Unlock();

	void Reset();

	/* True for the first caller since the last reset. */
	bool IsFirstToTell()
	{
		return !told.load(std::memory_order_relaxed) && !told.exchange(true);
	}

private:
	LWLock lock;
	std::atomic<uint32> generation;
	std::atomic<bool> told; /* that there is no place for all orders */
	alignas(PG_CACHE_LINE_SIZE) char graph[FLEXIBLE_ARRAY_MEMBER];
};

} // namespace cs
