/*
 * directory_eviction_test.cpp - how a key loses its place in the directory to
 * another one, and what is seen and counted meanwhile, without a server.
 * Prints TAP.
 *
 * Most directories here have 16 places: one set, the first and the second one
 * of all keys.
 */
#include <atomic>
#include <set>
#include <string>

#include "table.hpp"
#include "tap.hpp"

namespace {

using cs::Directory;
using cs::KeyRecord;
using cs::WaitEnd;
using table::count_grants;
using table::fill;
using table::got_place;
using table::insert;
using table::insert_by_force;
using table::key_number;
using table::key_of;
using table::kNoCounts;
using table::kTaker;
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

void test_eviction()
{
	const Table table(16);

	fill(*table);
	for (uint32_t n = 0; n < 16; n++)
	{
		count_grants(*table, key_number(n).id, 3, 1000 + n);
		table->CountWait(table->Find(key_number(n).id), WaitEnd::kTimedOut, 1000U << n % 4);
		table->CountWait(table->Find(key_number(n).id), WaitEnd::kDeadlocked, 7000 + n);
		table->CountRefusal(table->Find(key_number(n).id));
	}

	const std::string all = "48 acquired, 32 timed out, 16 deadlocked, 172120 us, "
							"longest 8000 us, waits 0 4 4 20 4 0 0 0 0 0 0 0 0";
	is(printed(table->Totals().statistics), all, "a full set, its counts");

	const NamedKey key = key_of("new");
	const Directory::Insertion first = insert(*table, key);
	const uint32_t lost = first.victim.key.tag.field2;

	ok(!first.place && first.victim.exists && !first.collided,
	   "no place in a full set, but a proposal");
	ok(lost < 16 && same(first.victim.key, key_number(lost).id) && first.victim.taker.pid == 4711 &&
		   first.victim.taker.scope == cs::GrantScope::kTransaction &&
		   first.victim.last_acquired == 1000 + lost,
	   "of a key that is there, with who took it and when");
	ok(!table->Find(key.id), "so far the new key is not there");
	is(printed_totals(*table), "16 used, 0 evicted, 0 unnamed, 0 collisions", "no place was given");
	is(name_of(*table, first.victim.key), key_number(lost).name, "the victim is still there");

	const Directory::Place former = table->Find(first.victim.key);
	const Directory::Insertion second = insert(*table, key, first.victim);

	ok(second.place && !second.victim.exists && same(second.place, table->Find(key.id)),
	   "handed in again, its place is the new key's");
	ok(second.place.set == former.set && second.place.way == former.way &&
		   second.place.version != former.version,
	   "the same place with another version");
	ok(!table->Find(first.victim.key), "the victim is gone");
	is(printed_totals(*table), "16 used, 1 evicted, 0 unnamed, 0 collisions", "one was evicted");
	is(printed(table->Totals().statistics), all, "the totals keep its counts");
	is(name_of(*table, key.id), "new", "the new key has its name");
	is(statistics_of(*table, key.id), kNoCounts, "and no counts of the other");

	KeyRecord record;
	ok(read(*table, key.id, &record) && record.last_acquired == 0 && record.taker.pid == 0,
	   "nor its last grant");

	/* Who found the place when it was the victim's comes too late. */
	ok(!table->CountGrant(former, kTaker, 9000) &&
		   !table->CountWait(former, WaitEnd::kGranted, 9000) && !table->CountRefusal(former),
	   "nothing is counted for the victim any more");
	is(statistics_of(*table, key.id), kNoCounts, "least of all for the new key");
	is(printed(table->Totals().statistics), all, "or in the totals");
	table->CountWait(second.place, WaitEnd::kGranted, 500);
	is(statistics_of(*table, key.id),
	   "0 acquired, 0 timed out, 0 deadlocked, 500 us, longest 500 us, "
	   "waits 1 0 0 0 0 0 0 0 0 0 0 0 0",
	   "its first wait begins at zero");

	bool right = true;
	for (uint32_t n = 0; n < 16; n++)
		right = right && (n == lost || name_of(*table, key_number(n).id) == key_number(n).name);
	ok(right, "the other fifteen stayed");
}

void test_eviction_without_waits()
{
	const Table table(16);

	fill(*table);
	count_grants(*table, key_number(0).id, 1);
	for (uint32_t n = 16; n < 48; n++)
		insert_by_force(*table, key_number(n));
	is(printed(table->Totals().statistics), "1" + kNoCounts.substr(1),
	   "keys nobody waited for take no waits along");
	is(printed_totals(*table), "16 used, 32 evicted, 0 unnamed, 0 collisions",
	   "all first sixteen gone, and sixteen more");
}

void test_victim_used_meanwhile()
{
	const Table table(16);
	const NamedKey key = key_of("new");

	fill(*table);

	const cs::Victim granted = insert(*table, key).victim;

	count_grants(*table, granted.key, 1);

	const Directory::Insertion again = insert(*table, key, granted);

	ok(!again.place && again.victim.exists && !same(again.victim.key, granted.key),
	   "a victim granted meanwhile keeps its place, and another one is proposed");
	ok(table->Find(granted.key) && !table->Find(key.id), "the victim is there, the new key is not");
	is(printed_totals(*table), "16 used, 0 evicted, 0 unnamed, 0 collisions",
	   "and nothing was evicted");

	/* Two want the same place. */
	insert(*table, key_of("faster"), again.victim);
	ok(table->Find(key_of("faster").id) && !insert(*table, key, again.victim).place,
	   "a victim whose place was given to another key meanwhile is none");
	is(name_of(*table, key_of("faster").id), "faster", "that key stays");
	is(printed_totals(*table), "16 used, 1 evicted, 0 unnamed, 0 collisions", "one was evicted");

	/* A wait that ended does not keep the victim, but counts. */
	const cs::Victim waited = insert(*table, key).victim;

	table->CountWait(table->Find(waited.key), WaitEnd::kGranted, 64000);
	ok(got_place(insert(*table, key, waited)), "a victim that was waited for may go");
	is(printed(table->Totals().statistics),
	   "1 acquired, 0 timed out, 0 deadlocked, 64000 us, longest 64000 us, "
	   "waits 0 0 0 0 0 0 0 1 0 0 0 0 0",
	   "its wait is in the totals");

	/* A key that got in meanwhile needs no victim any more. */
	const cs::Victim spared = insert(*table, key_of("late")).victim;

	insert_by_force(*table, key_of("late"));

	const std::string before = printed_totals(*table);

	ok(got_place(insert(*table, key_of("late"), spared)),
	   "a key that another one entered is found");
	is(printed_totals(*table), before, "and no victim dies for it");
}

/* Every key of the set is in use: whoever asks for a place gets none. */
void test_all_in_use()
{
	const Table table(16);
	const NamedKey key = key_of("new");
	std::set<uint32_t> proposed;

	fill(*table);
	for (int i = 0; i < 16; i++)
	{
		const Directory::Insertion result = insert(*table, key);

		if (!result.place && result.victim.exists)
			proposed.insert(result.victim.key.tag.field2);
	}
	is(proposed.size(), 16, "one after the other, all 16 are proposed");

	const Directory::Place none = insert(*table, key).place;

	ok(!none && table->CountGrant(none, kTaker, 1000) && table->CountRefusal(none),
	   "without one to give up there is no place, and yet all is counted");
	is(printed_totals(*table), "16 used, 0 evicted, 2 unnamed, 0 collisions",
	   "twice without a name");
	is(printed(table->Totals().statistics),
	   "1 acquired, 1 timed out, 0 deadlocked, 0 us, longest 0 us, "
	   "waits 0 0 0 0 0 0 0 0 0 0 0 0 0",
	   "in the totals");
	ok(!table->Find(key.id), "the key is not there");
}

void test_clock()
{
	/* Of 15 keys taken often and one that was entered alone, that one goes. */
	const Table table(16);

	fill(*table);
	for (uint32_t n = 0; n < 16; n++)
		count_grants(*table, key_number(n).id, n == 7 ? 0 : 2);
	is(insert(*table, key_of("new")).victim.key.tag.field2, 7, "the least used key is proposed");

	const Table busy(16);

	fill(*busy);
	for (uint32_t n = 0; n < 16; n++)
		count_grants(*busy, key_number(n).id, 1000);
	ok(insert(*busy, key_of("new")).victim.exists, "also where all keys were taken very often");

	/* Keys taken once come and go, four keys are taken all the time. */
	const Table stream(16);
	bool kept = true;

	fill(*stream);
	for (uint32_t n = 16; n < 2000; n++)
	{
		for (uint32_t hot = 0; hot < 4; hot++)
			count_grants(*stream, key_number(hot).id, 1);
		insert_by_force(*stream, key_number(n));
		count_grants(*stream, key_number(n).id, 1);
		for (uint32_t hot = 0; hot < 4; hot++)
			kept = kept && stream->Find(key_number(hot).id);
	}
	ok(kept, "a stream of keys taken once does not wash out those taken often");
	is(printed_totals(*stream), "16 used, 1984 evicted, 0 unnamed, 0 collisions",
	   "each key of the stream got a place");
	is(stream->Totals().statistics.acquired, 9920, "and no grant was lost");

	for (uint32_t n = 2000; n < 2100; n++)
		insert_by_force(*stream, key_number(n));
	for (uint32_t hot = 0; hot < 4; hot++)
		kept = kept && !stream->Find(key_number(hot).id);
	ok(kept, "a key that is not taken any more goes in the end");

	/* A key just entered is not the next to go, though nobody took it yet. */
	const Table fresh(16);
	std::set<uint32_t> proposed;

	fill(*fresh);
	insert_by_force(*fresh, key_number(16));
	for (int i = 0; i < 16; i++)
		proposed.insert(insert(*fresh, key_number(17)).victim.key.tag.field2);
	ok(proposed.size() == 15 && proposed.count(16) == 0, "a new key is spared for one round");

	/* A wait is a use as well. */
	const Table waits(16);

	fill(*waits);
	for (uint32_t n = 0; n < 15; n++)
		waits->CountRefusal(waits->Find(key_number(n).id));
	is(insert(*waits, key_of("new")).victim.key.tag.field2, 15, "a key asked for in vain is used");
}

void test_rewriting()
{
	const Table table(16);
	const NamedKey key = key_of("k");
	const Directory::Place place = insert(*table, key).place;
	std::atomic<uint64_t> &state = place.set->fronts[place.way].state;
	KeyRecord record;

	count_grants(*table, key.id, 3);
	table->CountRefusal(place);

	const uint64_t before = state.load();

	state.store(cs::NextState(before));
	ok(!table->Find(key.id), "a key whose place is being rewritten is not found");
	ok(!read(*table, key.id, &record), "and not read");
	ok(!table->ReadByTag(1, key.id.tag, &record), "also not by its tag");
	ok(!table->CountGrant(place, kTaker, 1000) && !table->CountRefusal(place) &&
		   !table->CountWait(place, WaitEnd::kGranted, 1000),
	   "nothing is counted there");
	is(printed_totals(*table), "0 used, 0 evicted, 0 unnamed, 0 collisions",
	   "the totals leave it out");
	state.store(cs::NextState(cs::NextState(before)));
	ok(!table->CountGrant(place, kTaker, 1000) && !table->CountRefusal(place) &&
		   !table->CountWait(place, WaitEnd::kGranted, 1000),
	   "nor afterwards for who found it before");
	ok(table->Find(key.id) && !same(table->Find(key.id), place), "who looks again finds it");
	count_grants(*table, key.id, 1);
	is(table->Totals().statistics.acquired, 1, "and may count");
}

void test_version_wraps()
{
	const Table table(16);

	fill(*table);

	const Directory::Place place = table->Find(key_number(0).id);
	std::atomic<uint64_t> &state = place.set->fronts[place.way].state;
	bool right = true;

	state.store(uint64_t{0xffffe} << cs::kGrantBits);
	for (uint32_t n = 16; n < 48; n++)
		right = right && insert_by_force(*table, key_number(n)).place &&
				name_of(*table, key_number(n).id) == key_number(n).name;
	ok(right && cs::VersionOf(state.load()) < 16, "after the last version comes the first");

	/* A place that looks as in a victim that does not exist. */
	state.store(0);
	ok(place.way == 0 && !insert(*table, key_of("new")).place, "it is not given away unasked");
}

/* Somebody stopped while he wrote. */
void test_busy_writer()
{
	const Table table(16);
	const NamedKey key = key_of("k");
	const NamedKey other = key_of("other");
	const Directory::Place place = insert(*table, key).place;

	ok(place.set->Lock(), "a writer that never comes back");

	const Directory::Insertion result = insert(*table, other);

	ok(!result.place && !result.victim.exists, "costs a new key its place");
	ok(same(place, table->Find(key.id)), "a key that is there is found");
	ok(table->CountGrant(place, kTaker, 1000), "and counted");
	ok(table->CountWait(place, WaitEnd::kGranted, 1000), "its first wait as well");
	is(printed(table->Totals().statistics),
	   "1 acquired, 0 timed out, 0 deadlocked, 1000 us, longest 1000 us, "
	   "waits 0 1 0 0 0 0 0 0 0 0 0 0 0",
	   "at least in the totals");
	is(statistics_of(*table, key.id), "1" + kNoCounts.substr(1), "if not for the key");
	place.set->Unlock();
	ok(got_place(insert(*table, other)), "until it comes back");
	table->CountWait(place, WaitEnd::kGranted, 2000);
	is(statistics_of(*table, key.id),
	   "1 acquired, 0 timed out, 0 deadlocked, 2000 us, longest 2000 us, "
	   "waits 0 0 1 0 0 0 0 0 0 0 0 0 0",
	   "then waits are counted where they belong");

	/* Who went to the second set would not be found there, as long as the first one is not full. */
	const Table two(1024);
	cs::DirectorySet *first = insert(*two, key_number(0)).place.set;

	ok(first->Lock() && !insert(*two, key_number(1)).place && two->Totals().used == 1,
	   "a busy first set is not a full one");
	first->Unlock();
	ok(insert(*two, key_number(1)).place.set == first, "the key gets its place there later");
	fill(*two);
	ok(first->Lock() && !insert(*two, key_number(0)).place && two->Totals().used == 16,
	   "nor does a key that is in a busy first set get another place in the second one");
	first->Unlock();
}

} // namespace

int main()
{
	test_eviction();
	test_eviction_without_waits();
	test_victim_used_meanwhile();
	test_all_in_use();
	test_clock();
	test_rewriting();
	test_version_wraps();
	test_busy_writer();
	return tap::done();
}
