/*
 * order_graph.hpp - in which orders keys of which classes are locked, and the
 * cycles among these orders.
 *
 * After lockdep, Linux's lock validator: not single keys but classes of them are
 * nodes, "locked while holding" is an edge, and an edge that closes a cycle is a
 * deadlock that may happen, whether or not it ever did. An edge carries the two
 * modes, because sessions that share a key do not wait for each other.
 *
 * Pure: compiles without PostgreSQL. The caller guards the graph by a lock.
 */
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "directory_set.hpp"

namespace cs {

/* A class by its number, an edge by its number; 0 = none. */
using ClassId = uint16_t;
using EdgeId = uint16_t;

inline constexpr uint32_t kMostEdges = 32767;

/* The longest cycle that is looked for, in edges. */
inline constexpr int kLongestCycle = 8;

/*
 * The part of a key that names its class: what comes before the last separator,
 * or all of it if nothing does.
 */
size_t ClassSize(const char *key, size_t size, const char *separator, size_t separator_size);

/* What an edge is: keys of a class locked while one of another class is held. */
struct Order
{
	ClassId held;
	ClassId taken;
	uint8_t held_mode;
	uint8_t taken_mode;

	friend bool operator==(const Order &, const Order &) = default;
};

/* Where an edge was seen first, as far as it is remembered. Text is cut by the caller. */
struct Sighting
{
	int64_t at; /* in the caller's clock */
	uint32_t role;
	int32_t pid;
	char application[64];
	char query[512];
};

/* A class is known by a hash of its name, which is never 0, in its database. */
struct OrderClass
{
	uint64_t hash;
	uint32_t database;
	EdgeId first_edge; /* of those that leave it */
	uint16_t name_size;
	uint8_t encoding;
	char name[kStoredNameBytes];
};

struct OrderEdge
{
	Order order;
	EdgeId next;    /* that leaves the same class */
	bool in_cycle;  /* a cycle through it was found */
	Sighting first; /* where it was seen first */
};

/* The edges of a cycle, the one that closed it first. */
struct OrderCycle
{
	int length;
	EdgeId edges[kLongestCycle];
};

static_assert(std::atomic<uint64_t>::is_always_lock_free);

class OrderGraph
{
public:
	/* most: number of edges, and of classes; up to kMostEdges. */
	static size_t Bytes(uint32_t most);
	static OrderGraph *Create(void *memory, uint32_t most);

	void Clear();

	uint32_t Edges() const
	{
		return edges;
	}
	uint32_t MostEdges() const
	{
		return most;
	}

	/* How often a class, an edge or a cycle found no place since the last Clear. */
	uint64_t Lost() const
	{
		return lost.load(std::memory_order_relaxed);
	}

	/* 0 if it is not there. */
	ClassId FindClass(uint64_t hash, uint32_t database) const;

	/* The class of that hash, entered if it is new. 0 if there is no place. */
	ClassId AddClass(uint64_t hash, uint32_t database, const NameToStore &name);

	/* Is there a place for a new edge, and for those of its classes that are 0? */
	bool HasRoomFor(const Order &order) const
	{
		return edges < most && classes + (order.held == 0) + (order.taken == 0) <= most;
	}
	/* May be called while others read. */
	void CountLost()
	{
		lost.fetch_add(1, std::memory_order_relaxed);
	}

	/* 0 if it is not there, or its classes are not. */
	EdgeId FindEdge(const Order &order) const;

	/* 0 if there is no place. */
	EdgeId AddEdge(const Order &order, const Sighting &first);

	/*
	 * The cycles that an edge closes and that were not reported before: of
	 * each way back from its end to its start the shortest, up to `limit` of
	 * them and kLongestCycle edges long. Where orders have different modes, a
	 * cycle whose way crosses a shorter one may be overlooked. Two modes
	 * conflict if a session that asks for the one waits for another that holds
	 * the other.
	 */
	int FindCycles(EdgeId start, bool (*conflict)(int, int), OrderCycle *cycles, int limit);

	const OrderClass &Class(ClassId id) const
	{
		return Part<OrderClass>(at.classes)[id];
	}
	const OrderEdge &Edge(EdgeId id) const
	{
		return Part<OrderEdge>(at.edges)[id];
	}

private:
	/* What the search has found out about an edge. */
	struct Visit
	{
		EdgeId before; /* on the shortest way; 0 = not visited */
		uint8_t distance;
	};

	/* Where the parts of the memory begin. Element 0 is used of the last two alone. */
	struct Layout
	{
		size_t classes;
		size_t edges;
		size_t visits;
		size_t queue;
		size_t buckets;
		size_t reports;
		size_t end;
	};

	static Layout LayOut(uint32_t most);

	template <class T> T *Part(size_t start)
	{
		return reinterpret_cast<T *>(reinterpret_cast<char *>(this) + start);
	}
	template <class T> const T *Part(size_t start) const
	{
		return reinterpret_cast<const T *>(reinterpret_cast<const char *>(this) + start);
	}

	bool PassesThrough(EdgeId edge, ClassId id) const;
	OrderCycle MakeCycle(EdgeId last) const;
	bool IsNew(const OrderCycle &cycle);
	void MarkCycle(const OrderCycle &cycle);

	Layout at;
	uint32_t most;
	uint32_t buckets; /* a power of two */
	uint32_t classes;
	uint32_t edges;
	uint32_t reports;
	std::atomic<uint64_t> lost;
};

} // namespace cs
