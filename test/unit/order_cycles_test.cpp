/*
 * order_cycles_test.cpp - which cycles src/order_graph.cpp finds: examples, and
 * the amount of work in graphs that have none. Prints TAP.
 *
 * Classes are letters: "ab" is an order, b locked while a is held, and "abc" a
 * cycle that the order ab closed.
 */
#include <algorithm>
#include <string>

#include "orders.hpp"
#include "random.hpp"
#include "tap.hpp"

namespace {

using orders::always;
using orders::EdgeId;
using orders::Graph;
using orders::Order;
using tap::is;
using tap::ok;

constexpr uint8_t kIS = modes::kIS;
constexpr uint8_t kIX = modes::kIX;
constexpr uint8_t kS = modes::kS;
constexpr uint8_t kX = modes::kX;

const std::string kLetters = "abcdefghijklmnopqrstuvwxyz";

/* The orders of a ring of the first letters, from one of them on: "bc ca ab". */
std::string ring(size_t length, size_t from)
{
	std::string pairs;

	for (size_t i = 0; i < length; i++)
	{
		pairs += pairs.empty() ? "" : " ";
		pairs += kLetters[(from + i) % length];
		pairs += kLetters[(from + i + 1) % length];
	}
	return pairs;
}

/* Rings of each length, closed at each place. */
void test_lengths()
{
	for (size_t length = 1; length <= 10; length++)
		for (size_t from = 0; from < length; from++)
		{
			const Graph graph(20);
			const std::string name =
				" of " + std::to_string(length) + " orders, the last is " + std::to_string(from);
			std::string letters = kLetters.substr(0, length);

			/* What it begins with is what the last order holds. */
			std::rotate(letters.begin(),
						letters.begin() +
							static_cast<std::string::difference_type>((from + length - 1) % length),
						letters.end());

			/* Orders that lead there and away are in no cycle. */
			is(graph.Add("za ay"), "", "none yet" + name);

			const bool found = length <= 8;

			is(graph.Add(ring(length, from)), found ? letters : "", "a cycle" + name);
			is(graph.Marked(), found ? ring(length, from) : "", "its orders are marked" + name);
			is(graph.Found(graph->FindEdge(
				   {graph.Letter(letters[0]), graph.Letter(letters[1 % length]), kX, kX})),
			   "", "it is reported once" + name);
			is(graph->Lost(), 0, "nothing is lost" + name);
		}
}

void test_shapes()
{
	const struct
	{
		const char *name, *orders, *cycles, *marked;
	} cases[] = {
		{"both orders", "ab ba", "ba", "ab ba"},
		{"no cycle", "ab bc cd ac bd ad", "", ""},
		{"two by one order", "bc ca bd da ab", "abd abc", "bc ca bd da ab"},
		{"of one way back the shortest", "bc cd de ea ce ab", "abce", "bc ea ce ab"},
		{"a shorter one later", "ab bc cd de ea ce", "eabcd ceab", "ab bc cd de ea ce"},
		{"the other way round is another", "ab bc ca ac cb ba", "cab ac cb ba bac",
		 "ab bc ca ac cb ba"},
		{"two rings that touch", "ab ba bc cb", "ba cb", "ab ba bc cb"},
		{"a ring behind the order", "bc cb ab", "cb", "bc cb"},
		{"a ring before the order", "ab ba bc", "ba", "ab ba"},
		{"a class with itself behind it", "bb ab", "b", "bb"},
		{"a class with itself in a ring", "bb ab ba", "b ba", "bb ab ba"},
		{"a ring and then a class with itself", "ab ba aa", "ba a", "ab ba aa"},
		{"two parts that do not meet", "ab ba cd dc", "ba dc", "ab ba cd dc"},
	};

	for (const auto &c : cases)
	{
		const Graph graph(20);

		is(graph.Add(c.orders), c.cycles, std::string("cycles: ") + c.name);
		is(graph.Marked(), c.marked, std::string("marked: ") + c.name);
	}
}

/* A ring of three, at one joint of which the modes are these. */
void test_modes()
{
	const struct
	{
		uint8_t taken, held;
	} pairs[] = {{kS, kS}, {kIX, kIX}, {kIS, kIS}, {kIS, kS}, {kIX, kIS}, {modes::kSIX, kIS},
				 {kX, kX}, {kX, kIS},  {kS, kIX},  {kIX, kS}, {kIS, kX},  {modes::kSIX, kIX}};

	for (const auto &pair : pairs)
		for (size_t joint = 0; joint < 3; joint++)
		{
			const Graph graph(3);
			const std::string name = " " + std::to_string(pair.taken) + " and " +
									 std::to_string(pair.held) + " at " + std::to_string(joint);
			std::string found;

			for (size_t i = 0; i < 3; i++)
				found += graph.Found(graph.Edge(kLetters[i], kLetters[(i + 1) % 3],
												i == joint ? pair.held : kX,
												(i + 1) % 3 == joint ? pair.taken : kX));

			const bool closed = modes::conflict(pair.taken, pair.held);

			is(found, closed ? "cab" : "", "modes" + name);
			is(graph.Marked(), closed ? "ab bc ca" : "", "marked with modes" + name);
		}

	/* A class with itself. */
	for (const auto &pair : pairs)
	{
		const Graph graph(3);

		is(graph.Found(graph.Edge('a', 'a', pair.held, pair.taken)),
		   modes::conflict(pair.taken, pair.held) ? "a" : "",
		   "one class, " + std::to_string(pair.taken) + " and " + std::to_string(pair.held));
	}

	/* It matters in which mode the same class is reached. */
	const Graph graph(10);

	graph.Edge('a', 'b', kX, kIS);
	graph.Edge('a', 'b', kX, kS);
	graph.Edge('b', 'c', kIX, kX);
	is(graph.Found(graph.Edge('c', 'a')), "cab", "one of two modes is enough");
	is(graph.Marked(), "ab bc ca", "and only that order is marked");
	ok(!graph->Edge(1).in_cycle && graph->Edge(2).in_cycle, "the right one");
}

/* Each order of a ring is in its cycle, not only the one that closed it. */
void test_any_order()
{
	const std::string rings[] = {"abc", "bca", "cab"};

	for (size_t asked = 0; asked < 3; asked++)
	{
		const Graph graph(3);

		for (size_t i = 0; i < 3; i++)
			graph.Edge(kLetters[i], kLetters[(i + 1) % 3]);
		is(graph.Found(static_cast<EdgeId>(asked + 1)), rings[asked], "asked about any order");
		is(graph.Found(1) + graph.Found(2) + graph.Found(3), "", "it is reported once");
	}
}

/* The question is whether who asks for a mode waits for who holds one. */
void test_who_asks()
{
	const orders::Conflict asks_one_holds_two = [](int asked, int held) {
		return asked == 1 && held == 2;
	};
	const Graph graph(10);

	graph.Edge('a', 'b', 2, 1);
	graph.Edge('b', 'c', 2, 1);
	is(graph.Found(graph.Edge('c', 'a', 2, 1), asks_one_holds_two), "cab", "taken waits for held");
	is(graph.Found(graph.Edge('d', 'd', 2, 1), asks_one_holds_two), "d", "in one class, too");
	graph.Edge('e', 'f', 1, 2);
	is(graph.Found(graph.Edge('f', 'e', 1, 2), asks_one_holds_two), "", "not held for taken");
	is(graph.Found(graph.Edge('g', 'g', 1, 2), asks_one_holds_two), "", "nor in one class");
}

void test_reported_once()
{
	const Graph graph(20);

	is(graph.Add("ab bc ca"), "cab", "a cycle");
	is(graph.Found(graph.Edge('a', 'b', kX, kS)), "", "is not reported again for other modes");
	is(graph.Found(graph.Edge('b', 'c', kIX, kX)), "", "of any of its orders");
	is(graph.Found(graph.Edge('c', 'a', kS, kS)), "", "whatever it begins with");
	is(graph.Found(graph.Edge('a', 'b', kIX, kIX)), "", "nor for all at once");
	is(graph.Marked(), "ab bc ca ab bc ca ab", "all of them are marked");
	is(graph.Found(graph.Edge('a', 'c', kX, kX)), "ac", "a part of it is another cycle");
	is(graph.Add("dd"), "d", "a class with itself");
	is(graph.Found(graph.Edge('d', 'd', kX, kS)), "", "is not reported again, either");
	is(graph.Add("de ed"), "ed", "but with another one");
	graph->Clear();
	is(graph.Add("ab bc ca"), "cab", "until the graph is emptied");
}

void test_limit()
{
	const Graph graph(20);

	is(graph.Add("bc ca bd da be ea"), "", "three ways back");
	is(graph.Found(graph.Edge('a', 'b'), always, 2), "abe abd", "two cycles are asked for");
	is(graph.Marked(), "bc ca bd da be ea ab", "the orders of the third are marked");
	is(graph.Found(graph.Edge('a', 'b', kS, kX), always), "abc",
	   "it is reported by the next order that closes it");
	is(graph.Found(graph.Edge('a', 'b', kIX, kX), always), "", "and then no more");
	is(graph->Lost(), 0, "nothing was lost");
}

/* --- how much is looked at ------------------------------------------------- */

uint64_t questions = 0;

bool count_always(int, int)
{
	questions++;
	return true;
}

bool count_modes(int a, int b)
{
	questions++;
	return modes::conflict(a, b);
}

/* Adds orders of classes that are numbers. The most that was asked for one of them. */
uint64_t add_all(const Graph &graph, const std::vector<Order> &all, orders::Conflict conflict,
				 uint64_t *cycles)
{
	uint64_t most = 0;

	for (const Order &order : all)
	{
		const EdgeId edge = graph.Edge(order);

		questions = 0;
		*cycles += graph.Cycles(edge, conflict).size();
		most = std::max(most, questions);
	}
	return most;
}

/* 1000 orders of 46 classes, each with most of those behind it, in no special order. */
void test_dense(orders::Conflict conflict, uint64_t most, const std::string &name)
{
	const Graph graph(1001);
	Random random(1);
	std::vector<Order> all;
	uint64_t cycles = 0;

	for (uint64_t n = 1; n <= 46; n++)
		graph.Class(n, "k");
	for (uint16_t held = 1; held <= 46; held++)
		for (uint16_t taken = static_cast<uint16_t>(held + 1); taken <= 46; taken++)
			all.push_back({held, taken, random.Below(modes::kModes), random.Below(modes::kModes)});
	for (size_t i = 0; i < all.size(); i++)
		std::swap(all[i], all[i + random.Below(all.size() - i)]);
	all.resize(1000);

	const uint64_t asked = add_all(graph, all, conflict, &cycles);

	is(cycles, 0, "1000 orders of 46 classes, no cycle" + name);
	ok(asked <= most, "each is looked at a few times" + name);
	ok(asked > 500, "and most of them are" + name);
	is(graph.Marked(), "", "none is marked" + name);

	/* From the last class to the first one: that closes many. */
	ok(add_all(graph, {{46, 1, kX, kX}}, conflict, &cycles) <= 2 * most,
	   "nor is much more if there are cycles" + name);
	ok(cycles > 0, "which are found" + name);

	bool there = true;

	for (uint64_t n = 1; n <= 46; n++)
		there = there && graph->FindClass(n, orders::kDatabase) == n;
	ok(there, "the search left all classes where they were" + name);
}

void test_work()
{
	test_dense(count_always, 1000, "");
	/* At most once for each of the 45 orders that lead to its class. */
	test_dense(count_modes, 45000, ", any modes");

	/* What is farther away than the longest cycle is not looked at. */
	const Graph chain(1000);
	std::vector<Order> all;
	uint64_t cycles = 0;

	for (uint16_t n = 1000; n > 0; n--)
	{
		chain.Class(uint64_t{1001} - n, "k");
		all.push_back({n, static_cast<uint16_t>(n + 1), kX, kX});
	}
	all.erase(all.begin());
	is(add_all(chain, all, count_always, &cycles), 7, "a chain of orders: seven behind the first");
	is(cycles, 0, "no cycle");
}

} // namespace

int main()
{
	test_lengths();
	test_shapes();
	test_modes();
	test_any_order();
	test_who_asks();
	test_reported_once();
	test_limit();
	test_work();
	return tap::done();
}
