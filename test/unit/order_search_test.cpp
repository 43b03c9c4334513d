/*
 * order_search_test.cpp - the cycles that src/order_graph.cpp finds in random
 * graphs, against a search that tries every way. Prints TAP.
 */
#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "orders.hpp"
#include "random.hpp"
#include "tap.hpp"

namespace {

using cs::kLongestCycle;
using orders::always;
using orders::ClassId;
using orders::Conflict;
using orders::EdgeId;
using orders::Graph;
using orders::Order;
using orders::OrderCycle;
using tap::is;
using tap::ok;

using Edges = std::vector<EdgeId>;
using Classes = std::vector<ClassId>;

struct Counts
{
	uint64_t orders;
	uint64_t closing;  /* orders through which there is a cycle */
	uint64_t reported; /* cycles */
	uint64_t wrong;    /* reported or marked, but no cycle */
	uint64_t twice;    /* of the same classes as one that was reported */
	uint64_t unmarked; /* orders that close a cycle, or are in a reported one */
	uint64_t untold;   /* orders that close cycles none of which was ever reported */
	uint64_t longer;   /* not the shortest cycle of a way back */
	int longest;
};

class Sample
{
public:
	Sample(uint32_t the_classes, uint32_t the_orders, Conflict the_conflict, uint64_t seed,
		   Counts *the_counts)
		: classes(the_classes), orders(the_orders), conflict(the_conflict), random(seed),
		  counts(the_counts), graph(40)
	{
		for (uint64_t n = 1; n <= classes; n++)
			graph.Class(n, "k");
	}

	void Run()
	{
		while (graph->Edges() < orders)
		{
			const Order order = {AnyClass(), AnyClass(), random.Below(modes::kModes),
								 random.Below(modes::kModes)};

			if (graph->FindEdge(order) == 0)
				Add(order);
		}
		for (const EdgeId edge : all)
			counts->wrong += graph->Edge(edge).in_cycle && CyclesThrough(edge).empty();
	}

private:
	ClassId AnyClass()
	{
		return static_cast<ClassId>(1 + random.Below(classes));
	}

	const Order &At(EdgeId edge) const
	{
		return graph->Edge(edge).order;
	}

	bool Follows(EdgeId before, EdgeId after) const
	{
		return At(before).taken == At(after).held &&
			   conflict(At(before).taken_mode, At(after).held_mode);
	}

	bool Holds(const Edges &way, ClassId id) const
	{
		return std::any_of(way.begin(), way.end(), [&](EdgeId edge) {
			return At(edge).held == id;
		});
	}

	/* Adds every cycle that begins with the way, without ends that meet in one class. */
	void Extend(Edges &way, std::vector<Edges> *cycles) const
	{
		if (Follows(way.back(), way.front()))
			cycles->push_back(way);
		if (At(way.back()).taken == At(way.front()).held || way.size() == kLongestCycle)
			return;
		for (const EdgeId next : all)
			if (Follows(way.back(), next) && !Holds(way, At(next).held))
			{
				way.push_back(next);
				Extend(way, cycles);
				way.pop_back();
			}
	}

	std::vector<Edges> CyclesThrough(EdgeId edge) const
	{
		std::vector<Edges> cycles;
		Edges way = {edge};

		Extend(way, &cycles);
		return cycles;
	}

	/* Its classes, beginning with the least one. */
	Classes ClassesOf(const Edges &cycle) const
	{
		Classes result;

		for (const EdgeId edge : cycle)
			result.push_back(At(edge).held);
		std::rotate(result.begin(), std::min_element(result.begin(), result.end()), result.end());
		return result;
	}

	void Add(const Order &order)
	{
		const EdgeId edge = graph.Edge(order);

		all.push_back(edge);

		const std::vector<Edges> cycles = CyclesThrough(edge);

		for (const OrderCycle &found : graph.Cycles(edge, conflict))
		{
			const Edges steps(found.edges, found.edges + found.length);

			counts->reported++;
			counts->wrong += std::count(cycles.begin(), cycles.end(), steps) != 1;
			counts->twice += !told.insert(ClassesOf(steps)).second;
			counts->longest = std::max(counts->longest, found.length);
			for (const EdgeId step : steps)
				counts->unmarked += !graph->Edge(step).in_cycle;
		}
		counts->orders++;
		counts->closing += !cycles.empty();
		counts->unmarked += !cycles.empty() && !graph->Edge(edge).in_cycle;
		counts->untold += !cycles.empty() && !IsTold(cycles);
		CheckShortest(cycles);
	}

	bool IsTold(const std::vector<Edges> &cycles) const
	{
		return std::any_of(cycles.begin(), cycles.end(), [&](const Edges &cycle) {
			return told.count(ClassesOf(cycle)) > 0;
		});
	}

	/* Of the cycles that end with the same order, a shortest one is reported, or was. */
	void CheckShortest(const std::vector<Edges> &cycles)
	{
		for (const EdgeId last : all)
		{
			std::vector<Edges> shortest;

			for (const Edges &cycle : cycles)
			{
				if (cycle.back() != last)
					continue;
				if (!shortest.empty() && cycle.size() < shortest.front().size())
					shortest.clear();
				if (shortest.empty() || cycle.size() == shortest.front().size())
					shortest.push_back(cycle);
			}
			counts->longer += !shortest.empty() && !IsTold(shortest);
		}
	}

	const uint32_t classes;
	const uint32_t orders;
	const Conflict conflict;
	Random random;
	Counts *counts;
	const Graph graph;
	Edges all;
	std::set<Classes> told;
};

struct Graphs
{
	const char *name;
	uint32_t classes;
	uint32_t orders;
	Conflict conflict;
	int longest;
	uint32_t overlooked; /* of 1000 cycles */
};

void check(const Graphs &graphs, const Counts &counts)
{
	const std::string name = std::string(": ") + graphs.name;
	const auto are_rare = [&](uint64_t count) {
		return count * 1000 <= counts.closing * graphs.overlooked;
	};

	is(counts.wrong, 0, "what is reported or marked is a cycle" + name);
	is(counts.twice, 0, "and reported once" + name);
	ok(are_rare(counts.unmarked), "who closes a cycle is marked" + name);
	ok(are_rare(counts.untold), "and one is told" + name);
	ok(are_rare(counts.longer), "of each way back the shortest" + name);
	ok(counts.closing * 10 > counts.orders && counts.closing < counts.orders,
	   "there were cycles to find" + name);
	is(static_cast<uint64_t>(counts.longest), static_cast<uint64_t>(graphs.longest),
	   "the longest that was found" + name);
}

void test_random()
{
	/*
	 * Each order is looked at once. So if modes matter, a cycle is overlooked if a shorter way
	 * to a part of it passes through its classes in modes with which it cannot go on.
	 */
	const Graphs all[] = {
		{"two classes", 2, 10, always, 2, 0},
		{"three classes", 3, 15, always, 3, 0},
		{"five classes", 5, 20, always, 5, 0},
		{"seven classes", 7, 20, always, 7, 0},
		{"ten classes", 10, 22, always, 8, 0},
		{"two classes, any mode", 2, 16, modes::conflict, 2, 0},
		{"three classes, any mode", 3, 18, modes::conflict, 3, 0},
		{"four classes, any mode", 4, 24, modes::conflict, 4, 0},
		{"six classes, any mode", 6, 30, modes::conflict, 6, 2},
		{"nine classes, any mode", 9, 30, modes::conflict, 8, 2},
	};

	for (const Graphs &graphs : all)
	{
		Counts counts = {};

		for (uint64_t seed = 1; seed <= 200; seed++)
			Sample(graphs.classes, graphs.orders, graphs.conflict, seed, &counts).Run();
		std::printf("# %s: %s orders, %s close a cycle; overlooked: %s, shorter ones %s\n",
					graphs.name, std::to_string(counts.orders).c_str(),
					std::to_string(counts.closing).c_str(), std::to_string(counts.untold).c_str(),
					std::to_string(counts.longer).c_str());
		check(graphs, counts);
	}
}

} // namespace

int main()
{
	test_random();
	return tap::done();
}
