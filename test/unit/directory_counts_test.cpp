/*
 * directory_counts_test.cpp - src/key_statistics.cpp and what the directory
 * counts, for each key and in total, without a server. Prints TAP.
 */
#include <cmath>
#include <string>

#include "table.hpp"
#include "tap.hpp"

namespace {

using cs::Directory;
using cs::KeyRecord;
using cs::KeyStatistics;
using cs::WaitEnd;
using table::count_grants;
using table::fill;
using table::insert;
using table::insert_by_force;
using table::key_number;
using table::key_of;
using table::kNoCounts;
using table::kTaker;
using table::make_memory;
using table::Memory;
using table::name_of;
using table::NamedKey;
using table::printed;
using table::printed_totals;
using table::read;
using table::same;
using table::statistics_of;
using table::Table;
using tap::is;
using tap::ok;

void test_buckets()
{
	is(cs::WaitBucket(0), 0, "no time at all is in bucket 0");
	for (uint32_t n = 1; n < cs::kWaitBuckets; n++)
	{
		const uint64_t bound = (uint64_t{1} << (n - 1)) * 1000;

		is(cs::WaitBucket(bound - 1), n - 1,
		   "below " + std::to_string(bound / 1000) + " ms: bucket " + std::to_string(n - 1));
		is(cs::WaitBucket(bound), n,
		   "from " + std::to_string(bound / 1000) + " ms: bucket " + std::to_string(n));
	}
	is(cs::kWaitBuckets, 13, "there are 13 buckets");
	is(cs::WaitBucket(2048000), 12, "the last one begins at 2048 ms");
	is(cs::WaitBucket(4096000), 12, "and has no end");
	is(cs::WaitBucket(uint64_t{1} << 42), 12, "not after two months");
	is(cs::WaitBucket(UINT64_MAX), 12, "and never");
}

void test_sums()
{
	KeyStatistics sum = {1, 2, 3, 4000, 2.5, {6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}};
	const KeyStatistics more = {100, 200, 300, 5000, 2.25, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}};

	is(sum.Waited(), 156, "the waits are the sum of the histogram");
	sum.Add(more);
	is(printed(sum),
	   "101 acquired, 202 timed out, 303 deadlocked, 9000 us, longest 2500 us, "
	   "waits 7 8 9 10 11 12 13 14 15 16 17 18 20",
	   "statistics are added up, but for the longest wait");
	sum.Add({0, 0, 0, 7000, 7, {}});
	is(printed(sum),
	   "101 acquired, 202 timed out, 303 deadlocked, 16000 us, longest 7000 us, "
	   "waits 7 8 9 10 11 12 13 14 15 16 17 18 20",
	   "a longer wait takes its place");

	const Memory memory = make_memory(sizeof(cs::WaitCounters) / 64 * 64 + 64);
	auto *counters = reinterpret_cast<cs::WaitCounters *>(memory.get());
	KeyStatistics read = {1, 1, 1, 1000, 1, {1}};

	counters->Reset();
	counters->AddTo(&read);
	is(printed(read),
	   "1 acquired, 1 timed out, 1 deadlocked, 1000 us, longest 1000 us, "
	   "waits 1 0 0 0 0 0 0 0 0 0 0 0 0",
	   "counters that were reset add nothing");
	counters->Add(sum);
	counters->Add(more);
	counters->AddTo(&read);
	is(printed(read),
	   "1 acquired, 403 timed out, 604 deadlocked, 22000 us, longest 7000 us, "
	   "waits 9 9 10 11 12 13 14 15 16 17 18 19 22",
	   "counters add up all but grants");
}

void test_grants()
{
	const Table table(16);
	const NamedKey key = key_of("k");
	KeyRecord record;

	insert(*table, key);
	ok(table->CountGrant(table->Find(key.id), {4711, cs::GrantScope::kTransaction}, 1000),
	   "a grant is counted");
	ok(read(*table, key.id, &record) && record.statistics.acquired == 1 &&
		   record.taker.pid == 4711 && record.taker.scope == cs::GrantScope::kTransaction &&
		   record.last_acquired == 1000,
	   "with who got it and when");
	table->CountGrant(table->Find(key.id), {4712, cs::GrantScope::kSession}, 2000);
	ok(read(*table, key.id, &record) && record.statistics.acquired == 2 &&
		   record.taker.pid == 4712 && record.taker.scope == cs::GrantScope::kSession &&
		   record.last_acquired == 2000,
	   "the next one in session scope");

	/* What the last session was granted the key for, in both ways. */
	const struct
	{
		cs::Taker taker;
		cs::GrantScope scope;
		const char *name;
	} grants[] = {
		{{4712, cs::GrantScope::kSession}, cs::GrantScope::kSession, "session scope again"},
		{{4712, cs::GrantScope::kTransaction}, cs::GrantScope::kMixed, "both scopes"},
		{{4712, cs::GrantScope::kTransaction}, cs::GrantScope::kMixed, "still both"},
		{{4713, cs::GrantScope::kTransaction}, cs::GrantScope::kTransaction, "another session"},
		{{4713, cs::GrantScope::kSession}, cs::GrantScope::kMixed, "both, the other way round"},
		{{4194304, cs::GrantScope::kSession},
		 cs::GrantScope::kSession,
		 "a session of great number"},
	};

	for (const auto &grant : grants)
	{
		table->CountGrant(table->Find(key.id), grant.taker, 3000);
		ok(read(*table, key.id, &record) && record.taker.pid == grant.taker.pid &&
			   record.taker.scope == grant.scope,
		   std::string("scope of grants: ") + grant.name);
	}
	count_grants(*table, key.id, 92, 4000);
	is(statistics_of(*table, key.id), "100" + kNoCounts.substr(1), "a hundred grants");
	is(printed(table->Totals().statistics), "100" + kNoCounts.substr(1), "are in the totals");
}

void test_waits()
{
	const Table table(16);
	const NamedKey key = key_of("k");
	const NamedKey other = key_of("other");

	insert(*table, other);

	const Directory::Place place = insert(*table, key).place;

	ok(table->CountRefusal(place), "a refusal is counted");
	is(statistics_of(*table, key.id),
	   "0 acquired, 1 timed out, 0 deadlocked, 0 us, longest 0 us, "
	   "waits 0 0 0 0 0 0 0 0 0 0 0 0 0",
	   "it gave up without a wait");
	ok(table->CountWait(place, WaitEnd::kGranted, 1500), "a wait is counted");
	is(statistics_of(*table, key.id),
	   "0 acquired, 1 timed out, 0 deadlocked, 1500 us, longest 1500 us, "
	   "waits 0 1 0 0 0 0 0 0 0 0 0 0 0",
	   "one that ended well counts as a wait alone");
	table->CountWait(place, WaitEnd::kTimedOut, 3000001);
	is(statistics_of(*table, key.id),
	   "0 acquired, 2 timed out, 0 deadlocked, 3001501 us, longest 3000001 us, "
	   "waits 0 1 0 0 0 0 0 0 0 0 0 0 1",
	   "one that timed out");
	table->CountWait(place, WaitEnd::kDeadlocked, 1000000);
	is(statistics_of(*table, key.id),
	   "0 acquired, 2 timed out, 1 deadlocked, 4001501 us, longest 3000001 us, "
	   "waits 0 1 0 0 0 0 0 0 0 0 1 0 1",
	   "one that ended in a deadlock, and was not the longest");
	table->CountWait(place, WaitEnd::kOther, 999);
	is(statistics_of(*table, key.id),
	   "0 acquired, 2 timed out, 1 deadlocked, 4002500 us, longest 3000001 us, "
	   "waits 1 1 0 0 0 0 0 0 0 0 1 0 1",
	   "one that was cancelled");
	is(printed(table->Totals().statistics), statistics_of(*table, key.id),
	   "all of it is in the totals");
	is(statistics_of(*table, other.id), kNoCounts, "and nothing in another key");
}

void test_histogram()
{
	const Table table(16);
	const NamedKey key = key_of("k");
	const Directory::Place place = insert(*table, key).place;
	uint64_t total = 0;

	/* The bound of bucket n is missed by a microsecond n + 1 times, and reached once. */
	for (uint32_t n = 0; n + 1 < cs::kWaitBuckets; n++)
	{
		const uint64_t bound = (uint64_t{1} << n) * 1000;

		for (uint32_t i = 0; i <= n; i++)
			table->CountWait(place, WaitEnd::kGranted, bound - 1);
		table->CountWait(place, WaitEnd::kGranted, bound);
		total += bound * (n + 2) - (n + 1);
	}
	is(statistics_of(*table, key.id),
	   "0 acquired, 0 timed out, 0 deadlocked, " + std::to_string(total) +
		   " us, longest 2048000 us, waits 1 3 4 5 6 7 8 9 10 11 12 13 1",
	   "the histogram at its bounds");
	is(table->Totals().statistics.Waited(), 90, "its sum is the number of waits");
}

/* The longest wait is stored in half the room of the others. */
void test_longest_wait()
{
	for (const uint64_t us : {1U, 999U, 1000U, 1001U, 123457U, 9999999U})
	{
		const Table table(16);
		const Directory::Place place = insert(*table, key_of("k")).place;

		table->CountWait(place, WaitEnd::kGranted, us);
		table->CountWait(place, WaitEnd::kGranted, us);
		ok(table->Totals().statistics.wait_ms_max == static_cast<double>(us) / 1000,
		   "the longest wait: " + std::to_string(us) + " us, exactly");
	}
	for (const uint64_t hours : {1U, 7U, 24U, 1000U})
	{
		bool right = true;

		for (uint64_t more = 0; more < 1000; more++)
		{
			const Table table(16);
			const uint64_t us = hours * 3600 * 1000 * 1000 + more * 977;

			table->CountWait(insert(*table, key_of("k")).place, WaitEnd::kGranted, us);

			const double longest = table->Totals().statistics.wait_ms_max * 1000;

			right = right && std::abs(longest / static_cast<double>(us) - 1) < 1e-6 &&
					longest <= static_cast<double>(us);
		}
		ok(right, "after " + std::to_string(hours) +
					  " hours it is right to a millionth, and no longer than all waits together");
	}
}

/* However many grants there were, they do not run over into the version. */
void test_most_grants()
{
	const Table table(16);
	const NamedKey key = key_of("k");
	const Directory::Place place = insert(*table, key).place;

	place.set->fronts[place.way].state.fetch_add(cs::kMostGrants - 2);
	count_grants(*table, key.id, 1);
	is(table->Totals().statistics.acquired, cs::kMostGrants - 1, "almost too many grants");
	count_grants(*table, key.id, 1);
	is(table->Totals().statistics.acquired, cs::kMostGrants, "as many as can be counted");
	ok(table->CountGrant(place, kTaker, 5000), "one more is taken note of");
	is(table->Totals().statistics.acquired, cs::kMostGrants, "but not counted");
	ok(same(place, table->Find(key.id)), "the place is still the key's");
}

void test_no_place()
{
	const Table table(16);

	ok(table->CountGrant({}, kTaker, 1000) && table->CountGrant({}, kTaker, 1000) &&
		   table->CountRefusal({}) && table->CountWait({}, WaitEnd::kDeadlocked, 5000) &&
		   table->CountWait({}, WaitEnd::kTimedOut, 2000),
	   "a key without a place is counted");
	is(printed(table->Totals().statistics),
	   "2 acquired, 2 timed out, 1 deadlocked, 7000 us, longest 5000 us, "
	   "waits 0 0 1 1 0 0 0 0 0 0 0 0 0",
	   "in the totals");
	is(printed_totals(*table), "0 used, 0 evicted, 5 unnamed, 0 collisions", "as one without name");
}

void test_reset()
{
	const Table table(16);
	NamedKey collision = key_number(3);

	collision.id.rest = 4711;
	fill(*table);
	insert_by_force(*table, collision);
	for (uint32_t n = 0; n < 16; n++)
	{
		count_grants(*table, key_number(n).id, 2);
		table->CountWait(table->Find(key_number(n).id), WaitEnd::kTimedOut, 5000);
	}
	table->CountGrant({}, kTaker, 1000);

	const Directory::Place place = table->Find(collision.id);

	is(printed_totals(*table), "16 used, 1 evicted, 4 unnamed, 1 collisions", "before the reset");
	table->ResetStatistics();
	is(printed_totals(*table), "16 used, 0 evicted, 0 unnamed, 0 collisions",
	   "the reset keeps the places");
	is(printed(table->Totals().statistics), kNoCounts, "and sets the counts to zero");
	is(name_of(*table, collision.id), collision.name, "the names stay");
	ok(same(place, table->Find(collision.id)) && table->CountGrant(place, kTaker, 2000) &&
		   table->CountWait(place, WaitEnd::kDeadlocked, 3000),
	   "who found a place before may count there");
	is(statistics_of(*table, collision.id),
	   "1 acquired, 0 timed out, 1 deadlocked, 3000 us, longest 3000 us, "
	   "waits 0 0 1 0 0 0 0 0 0 0 0 0 0",
	   "counting begins anew");
	is(printed(table->Totals().statistics), statistics_of(*table, collision.id),
	   "in the totals, too");
}

int pauses = 0;

void take_a_pause()
{
	pauses++;
}

/* A look at a great directory takes a while. */
void test_pauses()
{
	const Table table(3 * 4096 + 1);
	const NamedKey key = key_of("k");

	insert(*table, key);
	count_grants(*table, key.id, 3);
	ok(table->Totals(take_a_pause).statistics.acquired == 3 && pauses == 4,
	   "reading all totals gives a pause every 4,096 places");
	table->ResetStatistics(take_a_pause);
	ok(table->Totals().statistics.acquired == 0 && pauses == 8, "and so does resetting them");
}

} // namespace

int main()
{
	test_buckets();
	test_sums();
	test_grants();
	test_waits();
	test_histogram();
	test_longest_wait();
	test_most_grants();
	test_no_place();
	test_reset();
	test_pauses();
	return tap::done();
}
