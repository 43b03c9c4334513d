/*
 * orders.hpp - a graph of orders for a test, and its cycles as text.
 */
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "modes.hpp"
#include "order_graph.hpp"
#include "table.hpp"

namespace orders {

using cs::ClassId;
using cs::EdgeId;
using cs::Order;
using cs::OrderCycle;
using cs::OrderGraph;

using Conflict = bool (*)(int, int);

inline constexpr uint32_t kDatabase = 5;
inline constexpr int kMostCycles = 64;

inline bool always(int, int)
{
	return true;
}

/* A graph in exactly the memory that it asks for. */
class Graph
{
public:
	explicit Graph(uint32_t most)
		: memory(table::make_memory(OrderGraph::Bytes(most))),
		  graph(OrderGraph::Create(memory.get(), most))
	{
	}

	OrderGraph *operator->() const
	{
		return graph;
	}

	/* Classes of one letter have its code as hash. */
	ClassId Letter(char name) const
	{
		return Class(static_cast<uint64_t>(name), std::string_view(&name, 1));
	}

	ClassId Class(uint64_t hash, std::string_view name = "", uint32_t database = kDatabase) const
	{
		/* A copy of exactly this size: whoever reads on is seen by the address sanitizer. */
		const std::vector<char> bytes(name.begin(), name.end());

		return graph->AddClass(hash, database,
							   {bytes.data(), static_cast<uint32_t>(bytes.size()), 6});
	}

	EdgeId Edge(const Order &order) const
	{
		return graph->AddEdge(order, {});
	}

	EdgeId Edge(char held, char taken, uint8_t held_mode = modes::kX,
				uint8_t taken_mode = modes::kX) const
	{
		return Edge({Letter(held), Letter(taken), held_mode, taken_mode});
	}

	/* The first `limit` cycles that the edge closes. */
	std::vector<OrderCycle> Cycles(EdgeId edge, Conflict conflict, int limit = kMostCycles) const
	{
		std::vector<OrderCycle> cycles(static_cast<size_t>(limit));

		cycles.resize(static_cast<size_t>(graph->FindCycles(edge, conflict, cycles.data(), limit)));
		return cycles;
	}

	/* The same as the letters of their classes: "ab acd". */
	std::string Found(EdgeId edge, Conflict conflict = modes::conflict,
					  int limit = kMostCycles) const
	{
		std::string text;

		for (const OrderCycle &cycle : Cycles(edge, conflict, limit))
		{
			text += text.empty() ? "" : " ";
			for (int i = 0; i < cycle.length; i++)
				text += graph->Class(graph->Edge(cycle.edges[i]).order.held).name[0];
		}
		return text;
	}

	/* Adds an edge for each pair of letters; the cycles that they closed. */
	std::string Add(std::string_view pairs, Conflict conflict = modes::conflict) const
	{
		std::string text;

		for (size_t i = 0; i + 1 < pairs.size(); i += 3)
		{
			const std::string found = Found(Edge(pairs[i], pairs[i + 1]), conflict);

			text += text.empty() || found.empty() ? "" : " ";
			text += found;
		}
		return text;
	}

	/* The edges that are in a cycle, as pairs of letters, in the order in which they were added. */
	std::string Marked() const
	{
		std::string text;

		for (uint32_t id = 1; id <= graph->Edges(); id++)
		{
			const cs::OrderEdge &edge = graph->Edge(static_cast<EdgeId>(id));

			if (!edge.in_cycle)
				continue;
			text += text.empty() ? "" : " ";
			text += graph->Class(edge.order.held).name[0];
			text += graph->Class(edge.order.taken).name[0];
		}
		return text;
	}

private:
	table::Memory memory;
	OrderGraph *graph;
};

} // namespace orders
