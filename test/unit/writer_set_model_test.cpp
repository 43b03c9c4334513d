/*
 * writer_set_model_test.cpp - src/writer_set.cpp against the truth: no writer
 * is ever missed, and false alarms are where they have to be. Prints TAP.
 */
#include <cstdio>
#include <string>

#include "tap.hpp"
#include "writer_model.hpp"

namespace {

using tap::is;
using tap::ok;
using writer_model::Counts;
using writer_model::Model;
using writer_model::Scene;

struct Expected
{
	const char *name;
	Scene scene;
	uint64_t most_false; /* alarms of 1000 grants; 0 if there is room for all */
};

Counts play(const Scene &scene, uint64_t runs)
{
	Counts counts = {};

	for (uint64_t run = 0; run < runs; run++)
		Model(scene, run + 1, &counts).Run(2000);
	return counts;
}

void check_scene(const Expected &expected, const Counts &counts)
{
	const std::string name = std::string(": ") + expected.name;

	std::printf("# %s\n",
				(std::to_string(counts.grants) + " grants, " + std::to_string(counts.hidden) +
				 " stale, " + std::to_string(counts.false_alarms) + " false alarms, " +
				 std::to_string(counts.futile) + " futile, crowds " + std::to_string(counts.crowds))
					.c_str());
	is(counts.missed, 0, "no writer is missed" + name);
	ok(counts.hidden * 100 > counts.grants, "there were some to miss" + name);
	is(counts.inexplicable, 0, "no false alarm without a crowd" + name);
	ok(counts.false_alarms * 1000 <= counts.grants * expected.most_false,
	   "false alarms are rare" + name);
	ok((counts.crowds > 0) == (expected.most_false > 0), "a crowd if it needs one" + name);
}

void test_scenes()
{
	using modes::kIS;
	using modes::kIX;
	using modes::kS;
	using modes::kSIX;
	using modes::kX;

	const std::vector<uint8_t> every = {kIS, kIX, kS, kSIX, kX};
	const Expected cases[] = {
		{"three keys, locked exclusively", {3, {kX}, 9, false, 0}, 0},
		{"three keys, read by some", {3, {kX, kX, kS, kIS}, 9, false, 0}, 0},
		{"three keys, written below in order", {3, {kIX, kIX, kS}, 9, true, 0}, 0},
		{"one key in any mode, in order", {1, every, 9, true, 0}, 0},
		{"one key in any mode", {1, every, 9, false, 0}, 5},
		{"three keys in any mode", {3, every, 9, false, 0}, 20},
		{"six keys, one each, in order", {6, {kX}, 1, true, 0}, 130},
		{"six keys, locked exclusively", {6, {kX}, 9, false, 0}, 100},
		{"one key, prepared and given back", {1, every, 9, false, 15}, 90},
		{"three keys, prepared and given back", {3, every, 9, false, 15}, 180},
		{"twelve keys, prepared and given back", {12, every, 9, false, 5}, 300},
	};

	for (const Expected &expected : cases)
		check_scene(expected, play(expected.scene, 100));
}

} // namespace

int main()
{
	test_scenes();
	return tap::done();
}
