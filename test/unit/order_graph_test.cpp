/*
 * order_graph_test.cpp - what src/order_graph.cpp keeps: classes, orders, and
 * what happens when there is no more room. Prints TAP.
 */
#include <algorithm>
#include <string>
#include <vector>

#include "orders.hpp"
#include "tap.hpp"

namespace {

using orders::ClassId;
using orders::EdgeId;
using orders::Graph;
using orders::kDatabase;
using orders::Order;
using tap::is;
using tap::ok;

std::string class_of(const std::string &key, const std::string &separator)
{
	/* Copies of exactly their sizes, for the address sanitizer. */
	const std::vector<char> bytes(key.begin(), key.end());
	const std::vector<char> ends(separator.begin(), separator.end());

	return key.substr(0, cs::ClassSize(bytes.data(), bytes.size(), ends.data(), ends.size()));
}

void test_class_names()
{
	const struct
	{
		const char *key, *separator, *name;
	} cases[] = {
		{"user:42", ":", "user"},
		{"org:1:user:42", ":", "org:1:user"},
		{"user", ":", "user"},
		{"u", ":", "u"},
		{":", ":", ":"},
		{"::", ":", ":"},
		{":42", ":", ":42"},
		{"user:", ":", "user"},
		{"user::", ":", "user:"},
		{"a:", ":", "a"},
		{"a:b", "/", "a:b"},
		{"user->42", "->", "user"},
		{"user->42->7", "->", "user->42"},
		{"user->", "->", "user"},
		{"->42", "->", "->42"},
		{"->", "->", "->"},
		{"-", "->", "-"},
		{"a-b>c-", "->", "a-b>c-"},
		{"a->b-c-", "->", "a"},
		{"a:::b", "::", "a:"},
		{"a:::", "::", "a:"},
		{"ab", "a long one", "ab"},
	};

	for (const auto &c : cases)
		is(class_of(c.key, c.separator), c.name,
		   std::string("class of ") + c.key + ", separated by " + c.separator);

	const std::string binary("a\0b\0c", 5);

	is(class_of(binary, std::string(1, '\0')), std::string("a\0b", 3), "a zero is a byte as any");
	is(class_of(std::string(1000, 'x') + ":" + std::string(23, 'y'), ":"), std::string(1000, 'x'),
	   "a long one");
}

void test_classes()
{
	const Graph graph(5);
	const ClassId one = graph.Class(7, "user");
	const ClassId two = graph.Class(8, "account");

	ok(one != 0 && two != 0 && one != two, "two classes");
	ok(graph.Class(7, "user") == one && graph.Class(8, "account") == two,
	   "entered again they are the same");
	ok(graph->FindClass(7, kDatabase) == one && graph->FindClass(8, kDatabase) == two,
	   "both are found");
	ok(graph->FindClass(9, kDatabase) == 0, "another one is not");
	ok(graph->FindClass(7, kDatabase + 1) == 0, "nor one of another database");

	const ClassId elsewhere = graph.Class(7, "user", kDatabase + 1);

	ok(elsewhere != one && graph->FindClass(7, kDatabase + 1) == elsewhere &&
		   graph->FindClass(7, kDatabase) == one,
	   "which has its own of that name");
	ok(graph->Class(elsewhere).database == kDatabase + 1 && graph->Class(one).database == kDatabase,
	   "and each knows its own");
	is(std::string(graph->Class(two).name, graph->Class(two).name_size), "account", "its name");
	ok(graph->Class(two).hash == 8 && graph->Class(two).encoding == 6 &&
		   graph->Class(two).first_edge == 0,
	   "and what else is known of it");

	const std::string most(cs::kStoredNameBytes, 'm');
	const std::string longer(1024, 'l');

	const EdgeId edge = graph.Edge({one, two, modes::kX, modes::kX});
	const cs::OrderClass &whole = graph->Class(graph.Class(9, most));
	const cs::OrderClass &cut = graph->Class(graph.Class(10, longer));

	ok(whole.name_size == most.size() && std::string(whole.name, sizeof(whole.name)) == most,
	   "the longest name that is stored");
	ok(cut.name_size == longer.size() &&
		   std::string(cut.name, sizeof(cut.name)) == longer.substr(0, sizeof(cut.name)),
	   "of a longer one the beginning is, and how long it was");
	is(graph->FindEdge({one, two, modes::kX, modes::kX}), edge, "the rest of it went nowhere");
	is(graph->Lost(), 0, "nothing was lost");
}

/* Hashes that all want the same bucket, in the middle of the table or at its end. */
void test_collisions()
{
	for (const uint64_t low : {uint64_t{0}, uint64_t{13}, uint64_t{UINT32_MAX}})
	{
		const Graph graph(40);
		std::vector<ClassId> ids;
		bool right = true;

		for (uint64_t n = 0; n < 40; n++)
			ids.push_back(graph.Class(n << 32 | low, std::to_string(n)));
		for (uint64_t n = 0; n < 40; n++)
		{
			const ClassId id = graph->FindClass(n << 32 | low, kDatabase);

			right = right && id == ids[n] && id != 0 &&
					std::string(graph->Class(id).name, graph->Class(id).name_size) ==
						std::to_string(n) &&
					std::count(ids.begin(), ids.end(), id) == 1;
		}
		ok(right, "classes that collide are all found, bucket " + std::to_string(low));
		ok(graph->FindClass(uint64_t{40} << 32 | low, kDatabase) == 0, "and no other one is");
	}
}

void test_edges()
{
	const Graph graph(10);
	const ClassId a = graph.Letter('a');
	const ClassId b = graph.Letter('b');
	const Order order = {a, b, modes::kX, modes::kS};
	const Order others[] = {
		{a, b, modes::kS, modes::kX}, {a, b, modes::kX, modes::kX}, {a, b, modes::kS, modes::kS},
		{b, a, modes::kX, modes::kS}, {a, a, modes::kX, modes::kS}, {b, b, modes::kX, modes::kS},
	};
	cs::Sighting seen = {123456789, 10, 4711, "tests", "SELECT 1"};

	for (const Order &other : others)
		ok(graph->FindEdge(other) == 0, "no such order");

	ok(graph->FindEdge({0, b, modes::kX, modes::kS}) == 0 &&
		   graph->FindEdge({a, 0, modes::kX, modes::kS}) == 0,
	   "nor one of a class that is not there");

	const EdgeId edge = graph->AddEdge(order, seen);

	std::memset(&seen, 0, sizeof(seen));
	ok(edge != 0 && graph->FindEdge(order) == edge, "an order is found");
	for (const Order &other : others)
		ok(graph->FindEdge(other) == 0, "but no other one");

	const cs::OrderEdge &stored = graph->Edge(edge);

	ok(stored.order == order && !stored.in_cycle, "it is what was entered, in no cycle");
	ok(stored.first.at == 123456789 && stored.first.role == 10 && stored.first.pid == 4711 &&
		   std::string(stored.first.application) == "tests" &&
		   std::string(stored.first.query) == "SELECT 1",
	   "with where it was seen");

	std::vector<EdgeId> ids;

	for (const Order &other : others)
		ids.push_back(graph.Edge(other));
	for (size_t i = 0; i < ids.size(); i++)
		ok(graph->FindEdge(others[i]) == ids[i] && ids[i] == edge + 1 + i,
		   "others get the next numbers");
	ok(graph->FindEdge(order) == edge, "the first one keeps its own");
	is(graph->Edges(), 7, "seven orders");
	is(graph->Lost(), 0, "nothing was lost");
}

uint64_t hash_of(uint64_t n)
{
	return n * 0x9e3779b97f4a7c15U;
}

/* Graphs of one element, of a few, and as great as they get. */
void test_full(uint32_t most)
{
	const Graph graph(most);
	const std::string name = ", " + std::to_string(most) + " at most";
	bool right = graph->MostEdges() == most;

	for (uint32_t n = 1; n <= most; n++)
	{
		const bool room = graph->HasRoomFor({});

		right = graph.Class(hash_of(n), "k") == n && room == (n < most) && right;
	}
	ok(right && !graph->HasRoomFor({}), "classes until there is no more room" + name);
	ok(graph.Class(1) == 0 && graph.Class(2) == 0, "then no other one" + name);
	is(graph->Lost(), 2, "which is counted" + name);
	ok(graph.Class(hash_of(1)) == 1 && graph->Lost() == 2, "those there are cost nothing" + name);

	right = graph->FindClass(1, kDatabase) == 0;
	for (uint32_t n = 1; n <= most; n++)
		right = right && graph->FindClass(hash_of(n), kDatabase) == n;
	ok(right, "all are found, and no other" + name);

	const auto order = [most](uint32_t n) {
		return Order{static_cast<ClassId>(n), static_cast<ClassId>(n % most + 1), modes::kX,
					 modes::kX};
	};

	for (uint32_t n = 1; n <= most; n++)
		right = graph.Edge(order(n)) == n && graph->Edges() == n && right;
	ok(right && graph->Edges() == most, "orders until there is no more room" + name);
	ok(graph.Edge({1, 1, modes::kS, modes::kS}) == 0, "then no other one" + name);
	is(graph->Lost(), 3, "which is counted, too" + name);
	for (uint32_t n = 1; n <= most; n++)
		right = right && graph->FindEdge(order(n)) == n;
	ok(right && graph->FindEdge({1, 1, modes::kS, modes::kS}) == 0, "all are found" + name);

	/* All of them are one ring. */
	const auto cycles = graph.Cycles(static_cast<EdgeId>(most), modes::conflict);

	ok(most <= cs::kLongestCycle ? cycles.size() == 1 && cycles[0].length == static_cast<int>(most)
								 : cycles.empty(),
	   "the last order closes a cycle, if it is not too long" + name);
	graph->CountLost();
	is(graph->Lost(), 4, "the caller counts, too" + name);
}

/* There is room if both ends of an order may be new. */
void test_room()
{
	const Graph graph(4);

	ok(graph->HasRoomFor({}) && graph.Letter('a') != 0 && graph->HasRoomFor({}) &&
		   graph.Letter('b') != 0 && graph->HasRoomFor({}),
	   "room for two more classes");
	ok(graph.Letter('c') != 0 && !graph->HasRoomFor({}), "no room for one more");
	graph->Clear();
	for (const uint8_t mode : {modes::kX, modes::kS, modes::kIX, modes::kIS})
		ok(graph->HasRoomFor({}) && graph.Edge('a', 'b', mode) != 0, "room for an order");
	ok(!graph->HasRoomFor({}), "no room for one more order of two classes");
	is(graph->Lost(), 0, "who only asks loses nothing");
}

/* What was reported finds no place after so many cycles as there may be orders. */
void test_too_many_cycles()
{
	const Graph graph(20);
	const std::string letters = "abcde";
	uint64_t reported = 0;

	for (const char held : letters)
		for (const char taken : letters)
			if (held != taken)
				reported += graph.Cycles(graph.Edge(held, taken), modes::conflict).size();
	ok(reported > 20, "more cycles than orders");
	is(graph->Lost(), reported - 20, "are all reported, and counted");
}

void test_clear()
{
	const Graph graph(4);
	const std::string ring = "ab bc ca";

	for (int round = 0; round < 3; round++)
	{
		is(graph.Add(ring), "cab", "a cycle");
		ok(graph.Letter('d') == 4 && graph.Letter('e') == 0 && graph.Edge('a', 'd') == 4 &&
			   graph.Edge('d', 'a') == 0 && graph->Lost() == 2,
		   "full");
		graph->Clear();
		ok(graph->Edges() == 0 && graph->Lost() == 0 && graph->HasRoomFor({}) &&
			   graph->MostEdges() == 4,
		   "emptied");
		for (const char name : std::string("abcd"))
			ok(graph->FindClass(static_cast<uint64_t>(name), kDatabase) == 0,
			   std::string("no more class ") + name);
		ok(graph.Letter('a') == 1 && graph->Class(1).first_edge == 0 &&
			   graph->FindEdge({1, 2, modes::kX, modes::kX}) == 0,
		   "its first class is new, without orders");
		graph->Clear();
	}
}

} // namespace

int main()
{
	test_class_names();
	test_classes();
	test_collisions();
	test_edges();
	for (const uint32_t most : {1U, 2U, 3U, 8U, 9U, 1000U, cs::kMostEdges})
		test_full(most);
	test_room();
	test_too_many_cycles();
	test_clear();
	return tap::done();
}
