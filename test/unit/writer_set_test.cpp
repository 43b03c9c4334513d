/*
 * writer_set_test.cpp - src/writer_set.cpp by examples, without a server.
 * Prints TAP.
 *
 * Writers are shown as key/xid, with an i behind the key for an intent lock,
 * and @ with the end behind the xid if that is known.
 */
#include <set>
#include <string>
#include <vector>

#include "tap.hpp"
#include "writer_set.hpp"

namespace {

using cs::Crowd;
using cs::kNotEnded;
using cs::Writer;
using cs::WriterSet;
using tap::is;
using tap::ok;
using Xids = std::set<uint64_t>;

std::string end_of(uint64_t ended)
{
	return ended == kNotEnded ? "" : "@" + std::to_string(ended);
}

std::string shown(const Writer &writer)
{
	if (writer.xid == 0)
		return "-";
	return std::to_string(writer.key) + (writer.intent ? "i/" : "/") + std::to_string(writer.xid) +
		   end_of(writer.ended);
}

std::string shown(const Crowd &crowd)
{
	if (crowd.first == 0)
		return "";
	return " | " + std::to_string(crowd.first) +
		   (crowd.first == crowd.last ? "" : " to " + std::to_string(crowd.last));
}

std::string shown(const WriterSet &set)
{
	std::string text;

	for (const Writer &writer : set.writers)
		text += (text.empty() ? "" : " ") + shown(writer);
	return text + shown(set.crowd);
}

/* A set, who is seen by all, and what was asked about it. */
struct Sample
{
	WriterSet set = {};
	Xids seen_by_all;
	std::string asked;

	void Enter(const Writer &writer, uint64_t began)
	{
		asked.clear();
		cs::EnterWriter(set, writer, began, [this](uint64_t xid) {
			asked += (asked.empty() ? "" : " ") + std::to_string(xid);
			return seen_by_all.count(xid) > 0;
		});
	}

	/* A writer whose clock moved only by itself. */
	void Enter(uint64_t key, uint64_t xid, uint64_t ended, bool intent = false)
	{
		Enter({key, xid, ended, intent}, ended == kNotEnded ? 0 : ended - 1);
	}

	/* From a snapshot that sees those? */
	bool Hides(uint64_t key, bool reads_below, const Xids &seen) const
	{
		return cs::HasUnseenWriter(
			set, key, reads_below,
			[&](uint64_t xid) {
				return seen.count(xid) > 0;
			},
			[&](const Crowd &crowd) {
				uint64_t first = crowd.first;
				const uint64_t last = crowd.last;

				while (first <= last && seen.count(first) > 0)
					first++;
				return first > last;
			});
	}
};

/* Three writers of three keys, that ended one after the other. */
Sample full_sample()
{
	Sample sample;

	sample.Enter(1, 10, 2);
	sample.Enter(2, 11, 3);
	sample.Enter(3, 12, 4);
	return sample;
}

void test_one_writer()
{
	Sample sample;

	ok(!sample.Hides(7, true, {}), "nobody wrote: nothing is hidden");
	ok(!sample.Hides(0, true, {}), "also not under the key that is zero");
	sample.Enter(7, 10, 2);
	is(shown(sample.set), "7/10@2 - -", "a writer");
	ok(sample.Hides(7, true, {}), "is hidden from who does not see it");
	ok(sample.Hides(7, false, {}), "whether or not he reads below the key");
	ok(sample.Hides(7, true, {9, 11}), "and whomever else he sees");
	ok(!sample.Hides(7, true, {10}), "but not from who sees it");
	ok(!sample.Hides(8, true, {}), "nor from who locks another key");
	is(sample.asked, "", "nobody asked who sees it, there was room");
	sample.Enter(8, 11, kNotEnded, true);
	is(shown(sample.set), "7/10@2 8i/11 -", "another one, with an intent lock, that was prepared");
	ok(sample.Hides(8, true, {10}), "is hidden from who reads below the key");
	ok(!sample.Hides(8, false, {10}), "but not from who does not");
	ok(sample.Hides(7, false, {11}) && !sample.Hides(7, false, {10}), "the first one stays");
}

void test_order_of_ends()
{
	ok(cs::EndedBefore(4, 6, 5), "what ended before the clock was read has ended before");
	ok(cs::EndedBefore(5, 6, 5), "also if it moved the clock last");
	ok(!cs::EndedBefore(6, 7, 5), "what ended afterwards may have ended later");
	ok(!cs::EndedBefore(5, kNotEnded, 5), "nothing is known of an end that was not awaited");
	ok(!cs::EndedBefore(kNotEnded, 6, 5), "nor is that known to be before another");
	ok(!cs::EndedBefore(kNotEnded, kNotEnded, 0), "nor two of them");

	const Writer older = {1, 10, 5, false};
	const Writer older_intent = {1, 10, 5, true};
	const Writer newer = {1, 11, 8, false};
	const Writer newer_intent = {1, 11, 8, true};

	ok(cs::StandsFor(newer, 5, older), "exclusive for exclusive");
	ok(cs::StandsFor(newer, 5, older_intent), "exclusive for intent");
	ok(cs::StandsFor(newer_intent, 5, older_intent), "intent for intent");
	ok(!cs::StandsFor(newer_intent, 5, older), "but not intent for exclusive");
	ok(!cs::StandsFor(newer, 4, older), "nor whose end was not before");
	ok(!cs::StandsFor({2, 11, 8, false}, 5, older), "nor under another key");
}

void test_repeats()
{
	const Writer exclusive = {1, 10, 5, false};
	const Writer intent = {1, 10, kNotEnded, true};

	ok(cs::Repeats(exclusive, exclusive), "exclusive says the same as exclusive");
	ok(cs::Repeats(exclusive, intent), "and as intent");
	ok(cs::Repeats(intent, intent), "intent as intent");
	ok(!cs::Repeats(intent, exclusive), "but not as exclusive");
	ok(!cs::Repeats(exclusive, {1, 11, 5, false}), "nor as another transaction");
	ok(!cs::Repeats(exclusive, {2, 10, 5, false}), "nor as one of another key");
}

/* One key gave a place to a writer; what becomes of it with the next one? */
void test_same_key()
{
	const struct
	{
		const char *name;
		Writer first, second;
		uint64_t began;
		const char *set;
	} cases[] = {
		{"the last exclusive one stands for those before",
		 {1, 10, 2, false},
		 {1, 11, 3, false},
		 2,
		 "1/11@3 - -"},
		{"whatever their numbers", {1, 11, 2, false}, {1, 10, 3, false}, 2, "1/10@3 - -"},
		{"an exclusive one for intents", {1, 10, 2, true}, {1, 11, 3, false}, 2, "1/11@3 - -"},
		{"an intent for intents", {1, 10, 2, true}, {1, 11, 3, true}, 2, "1i/11@3 - -"},
		{"no intent for an exclusive one",
		 {1, 10, 2, false},
		 {1, 11, 3, true},
		 2,
		 "1/10@2 1i/11@3 -"},
		{"none for one that ended at the same time",
		 {1, 10, 2, true},
		 {1, 11, 3, true},
		 1,
		 "1i/10@2 1i/11@3 -"},
		{"none for one that was prepared",
		 {1, 10, kNotEnded, false},
		 {1, 11, 3, false},
		 2,
		 "1/10 1/11@3 -"},
		{"no prepared one for another",
		 {1, 10, 2, false},
		 {1, 11, kNotEnded, false},
		 2,
		 "1/10@2 1/11 -"},
		{"nor for one of another key", {1, 10, 2, false}, {2, 11, 3, false}, 2, "1/10@2 2/11@3 -"},

		/* The same transaction again. */
		{"given back twice", {1, 10, kNotEnded, false}, {1, 10, kNotEnded, false}, 0, "1/10 - -"},
		{"intent after exclusive",
		 {1, 10, kNotEnded, false},
		 {1, 10, kNotEnded, true},
		 0,
		 "1/10 - -"},
		{"exclusive after intent",
		 {1, 10, kNotEnded, true},
		 {1, 10, kNotEnded, false},
		 0,
		 "1/10 - -"},
		{"given back, and again held to the end",
		 {1, 10, kNotEnded, false},
		 {1, 10, 3, false},
		 2,
		 "1/10@3 - -"},
		{"given back, and an intent held to the end",
		 {1, 10, kNotEnded, false},
		 {1, 10, 3, true},
		 2,
		 "1/10 1i/10@3 -"},
		{"one key given back, another held to the end",
		 {1, 10, kNotEnded, false},
		 {2, 10, 3, false},
		 2,
		 "1/10 2/10@3 -"},
	};

	for (const auto &c : cases)
	{
		Sample sample;

		sample.Enter(c.first, 1);
		sample.Enter(c.second, c.began);
		is(shown(sample.set), c.set, c.name);
		is(sample.asked, "", std::string("asks nobody: ") + c.name);
	}
}

void test_places()
{
	Sample sample = full_sample();

	sample.Enter(2, 20, 5);
	is(shown(sample.set), "1/10@2 2/20@5 3/12@4", "the next writer of a key takes its place");
	is(sample.asked, "", "without a question");

	/* One for many. */
	sample = {};
	sample.Enter({1, 10, 2, true}, 1);
	sample.Enter({1, 11, 3, true}, 1);
	sample.Enter({1, 12, 4, true}, 1);
	is(shown(sample.set), "1i/10@2 1i/11@3 1i/12@4", "intents that ended at the same time");
	ok(sample.Hides(1, true, {10, 11}) && sample.Hides(1, true, {10, 12}) &&
		   sample.Hides(1, true, {11, 12}),
	   "each of them is hidden from who does not see it");
	ok(!sample.Hides(1, true, {10, 11, 12}) && !sample.Hides(1, false, {}), "and from nobody else");
	sample.Enter({1, 13, 5, true}, 3);
	is(shown(sample.set), "1i/13@5 - 1i/12@4", "one stands for all that had ended");
	sample.Enter({2, 14, 6, false}, 5);
	is(shown(sample.set), "1i/13@5 2/14@6 1i/12@4", "a place that became free is taken");
	is(sample.asked, "", "without a question, either");

	/* A place that nobody needs any more. */
	sample = full_sample();
	sample.seen_by_all = {11};
	sample.Enter(4, 13, 5);
	is(shown(sample.set), "1/10@2 4/13@5 3/12@4", "who is seen by all makes room");
	is(sample.asked, "10 11", "those in the places were asked about, until there was one");
	sample = full_sample();
	sample.seen_by_all = {10, 11, 12};
	sample.Enter(3, 13, 5);
	is(shown(sample.set), "1/10@2 2/11@3 3/13@5", "but only if there is no other place");
}

void test_choice()
{
	const struct
	{
		const char *name;
		Writer writers[3];
		uint64_t chosen;
	} cases[] = {
		{"the oldest", {{1, 10, 9, false}, {2, 11, 8, false}, {3, 12, 7, false}}, 10},
		{"wherever it is", {{1, 12, 9, false}, {2, 10, 8, false}, {3, 11, 7, false}}, 10},
		{"also last", {{1, 12, 9, false}, {2, 11, 8, false}, {3, 10, 7, false}}, 10},
		{"that has ended", {{1, 10, kNotEnded, false}, {2, 12, 8, false}, {3, 11, 7, false}}, 11},
		{"the only one that has",
		 {{1, 10, kNotEnded, false}, {2, 11, kNotEnded, false}, {3, 12, 7, false}},
		 12},
		{"also first",
		 {{1, 12, 7, false}, {2, 11, kNotEnded, false}, {3, 10, kNotEnded, false}},
		 12},
		{"or else the oldest",
		 {{1, 12, kNotEnded, false}, {2, 10, kNotEnded, true}, {3, 11, kNotEnded, false}},
		 10},
	};

	for (const auto &c : cases)
	{
		WriterSet set = {};

		for (int i = 0; i < cs::kWritersPerSet; i++)
			set.writers[i] = c.writers[i];
		is(cs::ChooseForCrowd(set)->xid, c.chosen, std::string("for the crowd ") + c.name);
	}
}

void test_joining()
{
	const struct
	{
		const char *name;
		Crowd crowd;
		uint64_t xid;
		const char *result;
	} cases[] = {
		{"the first one", {0, 0, false}, 22, " | 22"},
		{"whoever was in it before", {0, 30, false}, 22, " | 22"},
		{"a later one", {20, 20, false}, 22, " | 20 to 22"},
		{"an earlier one", {20, 20, false}, 18, " | 18 to 20"},
		{"one between", {20, 25, false}, 22, " | 20 to 25"},
		{"the same once more", {20, 20, false}, 20, " | 20"},
		{"before them", {20, 25, false}, 19, " | 19 to 25"},
		{"behind them", {20, 25, false}, 26, " | 20 to 26"},
	};

	for (const auto &c : cases)
	{
		Crowd crowd = c.crowd;

		cs::JoinCrowd(crowd, {1, c.xid, 5, false});
		is(shown(crowd), c.result, std::string("joins a crowd: ") + c.name);
		ok(!crowd.open, "all of it have ended");
		cs::JoinCrowd(crowd, {1, c.xid, cs::kNotEnded, false});
		cs::JoinCrowd(crowd, {1, c.xid, 6, false});
		ok(crowd.open, "until one may not have, which is not forgotten");
	}
}

void test_crowd()
{
	Sample sample = full_sample();

	sample.Enter(4, 13, 5);
	is(shown(sample.set), "4/13@5 2/11@3 3/12@4 | 10", "too many: the oldest is the crowd");
	is(sample.asked, "10 11 12", "after all were asked about");
	ok(sample.Hides(1, false, {11, 12, 13}), "it is hidden from who does not see it");
	ok(sample.Hides(9, true, {11, 12, 13}), "under any key");
	ok(!sample.Hides(1, true, {10}), "but not from who sees it");
	ok(sample.Hides(3, true, {10, 11, 13}), "who looks at those that have places, too");
	sample.Enter(5, 16, 6);
	is(shown(sample.set), "4/13@5 5/16@6 3/12@4 | 10 to 11", "the next one joins it");
	is(sample.asked, "13 11 12 10", "the crowd was asked about, too");
	ok(sample.Hides(1, false, {10, 12, 13, 16}) && sample.Hides(1, false, {11, 12, 13, 16}),
	   "who does not see both may miss something");
	ok(!sample.Hides(1, true, {10, 11}), "who sees both does not");
	sample.Enter(6, 9, kNotEnded);
	is(shown(sample.set), "4/13@5 5/16@6 6/9 | 10 to 12", "the oldest is the one that has ended");
	sample.Enter(7, 17, 7);
	is(shown(sample.set), "7/17@7 5/16@6 6/9 | 10 to 13", "not one that was prepared");
	sample.seen_by_all = {10};
	sample.Enter(8, 18, kNotEnded);
	is(shown(sample.set), "7/17@7 8/18 6/9 | 10 to 16", "a crowd is not left if the first is seen");
	is(sample.asked, "17 16 9 13", "but the last was asked about");
	sample.Enter(8, 19, kNotEnded);
	is(shown(sample.set), "8/19 8/18 6/9 | 10 to 17", "none stands for another that did not end");
	sample.Enter(9, 20, 8);
	is(shown(sample.set), "8/19 8/18 9/20@8 | 9 to 17", "if none has ended, the oldest joins");

	/* The end of it. */
	sample.seen_by_all = {17};
	sample.Enter(10, 21, 9);
	is(shown(sample.set), "8/19 8/18 10/21@9 | 20", "when all see the last, another begins");
	is(sample.asked, "19 18 20 17", "after it was asked about");
	ok(!sample.Hides(1, true, {20}), "it is not hidden from who sees that");
	sample.seen_by_all = {18};
	sample.Enter(11, 22, 10);
	is(shown(sample.set), "8/19 11/22@10 10/21@9 | 20", "a place that became free is taken first");
	sample.Enter(11, 23, 11);
	is(shown(sample.set), "8/19 11/23@11 10/21@9 | 20", "who finds a place leaves the crowd");
	is(sample.asked, "", "and does not ask");
}

} // namespace

int main()
{
	test_one_writer();
	test_order_of_ends();
	test_repeats();
	test_same_key();
	test_places();
	test_choice();
	test_joining();
	test_crowd();
	return tap::done();
}
