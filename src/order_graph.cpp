/*
 * order_graph.cpp - classes, edges, and the search for cycles. No PostgreSQL here.
 */
#include <algorithm>
#include <bit>
#include <cstring>

#include "order_graph.hpp"

#ifdef POSTGRES_H
#error "order_graph.cpp has to compile without PostgreSQL"
#endif

namespace cs {

namespace {

constexpr size_t kAlignment = 64;

size_t Align(size_t size)
{
	return (size + kAlignment - 1) & ~(kAlignment - 1);
}

template <class T> size_t Place(size_t *end, uint32_t count)
{
	const size_t start = *end;

	*end = Align(start + count * sizeof(T));
	return start;
}

uint32_t BucketsFor(uint32_t most)
{
	return std::bit_ceil(2 * most + 1);
}

uint64_t Mix(uint64_t hash, uint64_t value)
{
	/* The finalizer of MurmurHash3 by Austin Appleby, public domain. */
	hash = (hash ^ value) * 0xff51afd7ed558ccdU;
	hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53U;
	return hash ^ (hash >> 33);
}

} // namespace

size_t ClassSize(const char *key, size_t size, const char *separator, size_t separator_size)
{
	if (size > separator_size)
		for (size_t end = size - separator_size; end > 0; end--)
			if (key[end] == separator[0] && memcmp(key + end, separator, separator_size) == 0)
				return end;
	return size;
}

OrderGraph::Layout OrderGraph::LayOut(uint32_t most)
{
	Layout layout = {};

	layout.end = Align(sizeof(OrderGraph));
	layout.classes = Place<OrderClass>(&layout.end, most + 1);
	layout.edges = Place<OrderEdge>(&layout.end, most + 1);
	layout.visits = Place<Visit>(&layout.end, most + 1);
	layout.queue = Place<EdgeId>(&layout.end, most + 1);
	layout.buckets = Place<ClassId>(&layout.end, BucketsFor(most));
	layout.reports = Place<uint64_t>(&layout.end, most);
	return layout;
}

size_t OrderGraph::Bytes(uint32_t most)
{
	return LayOut(most).end;
}

OrderGraph *OrderGraph::Create(void *memory, uint32_t most)
{
	auto *graph = static_cast<OrderGraph *>(memory);

	graph->at = LayOut(most);
	graph->most = most;
	graph->buckets = BucketsFor(most);
	graph->Clear();
	return graph;
}

void OrderGraph::Clear()
{
	memset(Part<ClassId>(at.buckets), 0, buckets * sizeof(ClassId));
	classes = edges = reports = 0;
	lost = 0;
}

ClassId OrderGraph::FindClass(uint64_t hash, uint32_t database) const
{
	const auto *bucket = Part<ClassId>(at.buckets);

	for (uint32_t i = static_cast<uint32_t>(hash) & (buckets - 1); bucket[i] != 0;
		 i = (i + 1) & (buckets - 1))
		if (Class(bucket[i]).hash == hash && Class(bucket[i]).database == database)
			return bucket[i];
	return 0;
}

ClassId OrderGraph::AddClass(uint64_t hash, uint32_t database, const NameToStore &name)
{
	auto *bucket = Part<ClassId>(at.buckets);
	uint32_t i = static_cast<uint32_t>(hash) & (buckets - 1);
	const ClassId there = FindClass(hash, database);

	if (there != 0)
		return there;
	if (classes == most)
	{
		CountLost();
		return 0;
	}
	while (bucket[i] != 0)
		i = (i + 1) & (buckets - 1);
	bucket[i] = static_cast<ClassId>(++classes);

	OrderClass &added = Part<OrderClass>(at.classes)[bucket[i]];

	added = {hash, database, 0, static_cast<uint16_t>(name.size), name.encoding, {}};
	memcpy(added.name, name.bytes, std::min<size_t>(name.size, kStoredNameBytes));
	return bucket[i];
}

EdgeId OrderGraph::FindEdge(const Order &order) const
{
	if (order.held == 0 || order.taken == 0)
		return 0;
	for (EdgeId id = Class(order.held).first_edge; id != 0; id = Edge(id).next)
		if (Edge(id).order == order)
			return id;
	return 0;
}

EdgeId OrderGraph::AddEdge(const Order &order, const Sighting &first)
{
	if (edges == most)
	{
		CountLost();
		return 0;
	}

	const auto id = static_cast<EdgeId>(++edges);
	EdgeId &first_edge = Part<OrderClass>(at.classes)[order.held].first_edge;

	Part<OrderEdge>(at.edges)[id] = {order, first_edge, false, first};
	first_edge = id;
	return id;
}

/* Does the way to the end of this edge pass through the class? */
bool OrderGraph::PassesThrough(EdgeId edge, ClassId id) const
{
	const auto *visits = Part<Visit>(at.visits);

	for (; edge != visits[edge].before; edge = visits[edge].before)
		if (Edge(edge).order.taken == id)
			return true;
	return Edge(edge).order.taken == id;
}

/* The way to an edge that leads back to where it began. */
OrderCycle OrderGraph::MakeCycle(EdgeId last) const
{
	const auto *visits = Part<Visit>(at.visits);
	OrderCycle cycle = {visits[last].distance, {}};

	for (int i = cycle.length - 1; i >= 0; i--, last = visits[last].before)
		cycle.edges[i] = last;
	return cycle;
}

/* Was no cycle of these classes, whatever the modes, reported before? */
bool OrderGraph::IsNew(const OrderCycle &cycle)
{
	auto *reported = Part<uint64_t>(at.reports);
	int start = 0;
	uint64_t hash = 0;

	for (int i = 1; i < cycle.length; i++)
		if (Edge(cycle.edges[i]).order.held < Edge(cycle.edges[start]).order.held)
			start = i;
	for (int i = 0; i < cycle.length; i++)
		hash = Mix(hash, Edge(cycle.edges[(start + i) % cycle.length]).order.held);
	for (uint32_t i = 0; i < reports; i++)
		if (reported[i] == hash)
			return false;
	if (reports < most)
		reported[reports++] = hash;
	else
		CountLost();
	return true;
}

void OrderGraph::MarkCycle(const OrderCycle &cycle)
{
	for (int i = 0; i < cycle.length; i++)
		Part<OrderEdge>(at.edges)[cycle.edges[i]].in_cycle = true;
}

/* A search in breadth from the edge on; the nodes are edges, since modes have to fit. */
int OrderGraph::FindCycles(EdgeId start, bool (*conflict)(int, int), OrderCycle *cycles, int limit)
{
	auto *visits = Part<Visit>(at.visits);
	auto *queue = Part<EdgeId>(at.queue);
	const Order &first = Edge(start).order;
	uint32_t waiting = 0;
	int found = 0;

	memset(visits, 0, (edges + 1) * sizeof(Visit));
	visits[start] = {start, 1};

	const auto close = [&](EdgeId last) {
		const OrderCycle cycle = MakeCycle(last);

		MarkCycle(cycle);
		if (found < limit && IsNew(cycle))
			cycles[found++] = cycle;
	};

	if (first.held == first.taken)
	{
		if (conflict(first.taken_mode, first.held_mode))
			close(start);
		return found;
	}
	queue[waiting++] = start;
	for (uint32_t next = 0; next < waiting; next++)
	{
		const EdgeId edge = queue[next];
		const Order &order = Edge(edge).order;

		if (visits[edge].distance == kLongestCycle)
			break;
		for (EdgeId id = Class(order.taken).first_edge; id != 0; id = Edge(id).next)
		{
			const Order &after = Edge(id).order;
			const bool back = after.taken == first.held;

			if (visits[id].before != 0 || !conflict(order.taken_mode, after.held_mode) ||
				(back ? !conflict(after.taken_mode, first.held_mode)
					  : PassesThrough(edge, after.taken)))
				continue;
			visits[id] = {edge, static_cast<uint8_t>(visits[edge].distance + 1)};
			if (back)
				close(id);
			else
				queue[waiting++] = id;
		}
	}
	return found;
}

} // namespace cs
