/*
 * directory_test.cpp - src/directory.cpp and src/directory_set.cpp without a
 * server: which key is where, under which name. Prints TAP.
 */
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "random.hpp"
#include "table.hpp"
#include "tap.hpp"

namespace {

using cs::Directory;
using cs::KeyIdentity;
using cs::KeyRecord;
using cs::WaitEnd;
using table::count_grants;
using table::fill;
using table::insert;
using table::insert_by_force;
using table::key_number;
using table::key_of;
using table::kNoCounts;
using table::make_memory;
using table::Memory;
using table::name_of;
using table::NamedKey;
using table::printed;
using table::printed_totals;
using table::read;
using table::same;
using table::stored_name;
using table::Table;
using tap::is;
using tap::ok;

void test_size()
{
	is(Directory::Bytes(32) - Directory::Bytes(16), 4032, "16 keys take 252 bytes each");
	ok(Directory::Bytes(1) == Directory::Bytes(16) && Directory::Bytes(17) == Directory::Bytes(32),
	   "memory comes in sets of 16");
	ok(Directory::Bytes(131072) < 256 * size_t{131072}, "256 bytes a key are enough for all of it");
	is(Table(1)->Entries(), 16, "the least directory");
	is(Table(17)->Entries(), 32, "the number of entries is rounded up");

	const Table empty(48);
	KeyRecord record;
	bool found = false;

	for (uint32_t i = 0; i < 48; i++)
		found = found || empty->Read(i, &record);
	ok(!found, "a new directory has no key in any place");
	is(printed_totals(*empty), "0 used, 0 evicted, 0 unnamed, 0 collisions", "nor in its totals");
	is(printed(empty->Totals().statistics), kNoCounts, "and has counted nothing");
}

void test_lookup()
{
	const Table table(1024);
	std::vector<NamedKey> keys;
	std::set<std::string> names;
	std::set<std::pair<cs::DirectorySet *, uint32_t>> places;
	bool right = true;

	keys.reserve(200);
	for (int i = 0; i < 200; i++)
		keys.push_back(key_of("withdraw:user:" + std::to_string(i)));
	for (const NamedKey &key : keys)
	{
		table->PrefetchSet(key.id);
		table->PrefetchPlace(key.id);
		right = right && !table->Find(key.id);
		const Directory::Insertion first = insert(*table, key);
		const Directory::Insertion second = insert(*table, key);
		right = right && first.place && !first.victim.exists && !first.collided &&
				same(first.place, second.place) && !second.collided &&
				same(first.place, table->Find(key.id));
		places.insert({first.place.set, first.place.way});
	}
	ok(right, "200 keys are entered once, and found then and not before");
	is(places.size(), 200, "each has a place of its own");
	is(printed_totals(*table), "200 used, 0 evicted, 0 unnamed, 0 collisions",
	   "200 places are used");

	right = true;
	for (const NamedKey &key : keys)
		right = right && name_of(*table, key.id) == key.name;
	ok(right, "each place knows its key and the name");
	for (uint32_t i = 0; i < table->Entries(); i++)
	{
		KeyRecord record;

		if (table->Read(i, &record))
			names.insert(stored_name(record));
	}
	is(names.size(), 200, "and there are no others");
	ok(!table->Find(key_of("withdraw:user:200").id), "another key is not found");
	is(printed(table->Totals().statistics), kNoCounts, "entering a key counts nothing");
}

void test_same_place_wanted()
{
	const Table table(16);
	bool right = true;

	/* Their places are looked for from the last one on. */
	for (uint32_t n = 0; n < 16; n++)
		right = right && insert(*table, key_number(0xf0000000 + n)).place;
	ok(right, "16 keys that want the same place find one each");
	right = true;
	for (uint32_t n = 0; n < 16; n++)
		right = right &&
				name_of(*table, key_number(0xf0000000 + n).id) == key_number(0xf0000000 + n).name;
	ok(right, "and keep their names");
}

/* Keys that all have the same first set go to their second sets when it is full. */
void test_second_set()
{
	const Table table(1024);
	std::set<cs::DirectorySet *> first_sets;
	std::set<cs::DirectorySet *> second_sets;
	uint64_t found = 0;
	bool once = true;

	for (uint32_t n = 0; n < 16; n++)
		first_sets.insert(insert(*table, key_number(n)).place.set);
	is(first_sets.size(), 1, "the first sixteen keys are in one set");
	for (uint32_t n = 16; n < 200; n++)
		second_sets.insert(insert_by_force(*table, key_number(n)).place.set);
	ok(second_sets.size() > 32, "the others are spread over more than half of the 64 sets");
	for (uint32_t n = 0; n < 200; n++)
		if (table->Find(key_number(n).id))
		{
			once = once && name_of(*table, key_number(n).id) == key_number(n).name;
			found++;
		}
	ok(once, "each of them is in one place, under its name");

	const cs::DirectoryTotals totals = table->Totals();

	ok(totals.used == found && totals.used + totals.evicted == 200 && totals.evicted < 20,
	   "few lost their place, to those whose second set was full as well");
}

void test_two_full_sets()
{
	const Table table(32);
	std::set<uint64_t> there;
	Random random(1);
	bool right = true;
	uint32_t n = 0;

	/* Some find no place, since their second set is the first one, and that is full. */
	for (; table->Totals().used < 32 && n < 1000; n++)
		insert(*table, key_number(n));
	is(printed_totals(*table), "32 used, 0 evicted, 0 unnamed, 0 collisions",
	   "keys with the same first set fill both sets of a directory");
	for (; n < 1100; n++)
		right = right && !insert(*table, key_number(n)).place &&
				insert(*table, key_number(n)).victim.exists;
	ok(right, "then all are told whom they might replace");

	/* Whoever lost his place comes back to another one, perhaps in the other set. */
	for (int i = 0; i < 3000; i++)
	{
		const NamedKey key = key_number(random.Below(64U));

		insert_by_force(*table, key);
		right = right && name_of(*table, key.id) == key.name;
		count_grants(*table, key.id, 1);
	}
	for (uint32_t i = 0; i < 32; i++)
	{
		KeyRecord record;

		if (table->Read(i, &record))
			there.insert(record.key.rest);
	}
	ok(right && there.size() == 32, "coming and going, no key ever has two places");
	is(table->Totals().statistics.acquired, 3000, "and no grant is lost");
	ok(table->Totals().evicted > 300, "though many lost their places");
}

void test_name_sizes()
{
	for (const size_t size : {1U, 2U, 7U, 8U, 9U, 15U, 16U, 17U, 71U, 72U, 73U, 1023U, 1024U})
	{
		const Table table(16);
		std::string name;
		KeyRecord record;

		for (size_t i = 0; i < size; i++)
			name += static_cast<char>('!' + i % 94);
		insert(*table, key_of(name));
		ok(read(*table, key_of(name).id, &record) && record.name_size == size &&
			   stored_name(record) == name.substr(0, 72),
		   "a name of " + std::to_string(size) + " bytes");
	}

	const Table table(16);
	const NamedKey zeros = key_of(std::string("\0a\0\0b\0", 6));
	KeyRecord record;

	insert(*table, zeros, {}, 255);
	ok(read(*table, zeros.id, &record) && stored_name(record) == zeros.name &&
		   record.encoding == 255,
	   "zero bytes belong to the name, and the encoding is kept with it");
}

void test_name_rewritten()
{
	const Table table(16);
	bool right = true;

	fill(*table);
	for (uint32_t n = 16; n < 200; n++)
	{
		NamedKey key = key_number(n);

		key.name = std::string(1 + n * 37 % 100, static_cast<char>('a' + n % 26));
		right = right && insert_by_force(*table, key).place &&
				name_of(*table, key.id) == key.name.substr(0, 72);
	}
	ok(right, "long and short names follow each other in a place");
}

void test_identities()
{
	const uint64_t greatest_rest = (uint64_t{1} << 49) - 1;
	const KeyIdentity ids[] = {
		{0, {0, 0, 0x8000}, 0},
		{1, {0, 0, 0x8000}, 0},
		/* These three and the first one have the same fingerprint. */
		{0, {1, 0, 0x8000}, 0},
		{0, {0x10000, 0, 0x8000}, 0},
		{0, {0x10001, 0, 0x8000}, 0},
		{0, {0, 1, 0x8000}, 0},
		{0, {0, 0, 0x8001}, 0},
		{0, {0, 0, 0xffff}, 0},
		{0, {0, 0, 0x8000}, 1},
		{0, {0, 0, 0x8000}, greatest_rest},
		{0, {0xffffffff, 0, 0x8000}, 0},
		{0, {0, 0xffffffff, 0x8000}, 0},
		{0xffffffff, {0xffffffff, 0xffffffff, 0xffff}, greatest_rest},
	};
	const Table table(16);
	bool right = true;

	for (const KeyIdentity &id : ids)
		right = right && !table->Find(id) && insert(*table, {"name", id}).place;
	for (const KeyIdentity &id : ids)
		right = right && name_of(*table, id) == "name";
	ok(right, "keys that differ in one part alone are different keys, and come back whole");
}

void test_databases()
{
	const Table table(64);
	const uint32_t databases[] = {1, 5, 16384, 4294967295};
	bool right = true;

	for (const uint32_t database : databases)
	{
		right = right && !table->Find(key_of("k", database).id);
		right = right && !insert(*table, key_of("k", database)).collided;
		count_grants(*table, key_of("k", database).id, database == 5 ? 2 : 1);
	}
	ok(right, "the same key in four databases is no collision");
	is(printed_totals(*table), "4 used, 0 evicted, 0 unnamed, 0 collisions",
	   "it has four places then");
	for (const uint32_t database : databases)
	{
		const KeyIdentity id = key_of("k", database).id;
		KeyRecord record;

		ok(table->ReadByTag(database, id.tag, &record) && same(record.key, id) &&
			   record.statistics.acquired == (database == 5 ? 2U : 1U),
		   "its counts in database " + std::to_string(database));
	}

	KeyRecord record;
	ok(!table->ReadByTag(2, key_of("k").id.tag, &record), "it is unknown in another database");

	/* A directory with room for 64 keys has four sets. */
	std::set<cs::DirectorySet *> sets;
	for (uint32_t database = 1; database <= 16; database++)
		sets.insert(insert(*table, key_of("k", database)).place.set);
	is(sets.size(), 4, "the databases are spread over the sets");
}

/* Each process may have the memory at another address. */
void test_moved()
{
	const size_t size = Directory::Bytes(64);
	const Memory first = make_memory(size);
	const Memory second = make_memory(size);
	const NamedKey key = key_of("a key whose name reaches into the back of its place");

	insert(*Directory::Create(first.get(), 64), key);
	std::memcpy(second.get(), first.get(), size);
	std::memset(first.get(), 0xff, size);

	auto *directory = reinterpret_cast<Directory *>(second.get());
	directory->CountWait(directory->Find(key.id), WaitEnd::kGranted, 1000);
	is(name_of(*directory, key.id), key.name, "the memory may be anywhere");
	is(directory->Totals().statistics.Waited(), 1, "also for counting");
}

void test_collisions()
{
	const Table table(16);
	const NamedKey a = key_of("a");
	NamedKey b = key_of("b");
	KeyRecord record;

	b.id.tag = a.id.tag;
	ok(!insert(*table, a).collided, "the first key of a tag is no collision");
	ok(insert(*table, b).collided, "the second one is");
	ok(!insert(*table, b).collided && !insert(*table, a).collided, "but only once");
	is(printed_totals(*table), "2 used, 0 evicted, 0 unnamed, 1 collisions", "it is counted once");
	ok(name_of(*table, a.id) == "a" && name_of(*table, b.id) == "b", "both have their places");

	count_grants(*table, a.id, 3, 1000);
	count_grants(*table, b.id, 1, 2000);
	ok(table->ReadByTag(1, a.id.tag, &record) && stored_name(record) == "b" &&
		   record.statistics.acquired == 1,
	   "their tag gives the one granted last");
	count_grants(*table, a.id, 1, 3000);
	ok(table->ReadByTag(1, a.id.tag, &record) && stored_name(record) == "a" &&
		   record.statistics.acquired == 4,
	   "also the other way round");

	NamedKey c = key_of("c");
	c.id.tag = a.id.tag;
	ok(insert(*table, c).collided, "a third one is another collision");
	is(printed_totals(*table), "3 used, 0 evicted, 0 unnamed, 2 collisions", "the second");

	c.id.database = 2;
	ok(!insert(*table, c).collided, "the tag in another database is none");

	NamedKey d = key_of("d");
	d.id = a.id;
	d.id.tag.field4 ^= 1;
	ok(!insert(*table, d).collided, "a tag that differs in one bit is none");
	d.id.tag = a.id.tag;
	d.id.tag.field2 ^= 0x10000;
	ok(!insert(*table, d).collided, "wherever that bit is");
	ok(!table->ReadByTag(1, {a.id.tag.field2, a.id.tag.field3, 0x8000}, &record) &&
		   !table->ReadByTag(3, a.id.tag, &record),
	   "a tag that nobody has gives nothing");
}

void test_collision_in_full_set()
{
	const Table table(16);
	NamedKey key = key_number(3);

	fill(*table);
	key.id.rest = 4711;

	const Directory::Insertion first = insert(*table, key);

	ok(!first.place && !first.collided, "a key without a place has not collided yet");
	ok(first.victim.key.tag.field2 != 3 && insert(*table, key, first.victim).collided,
	   "it does when it gets one");
	is(printed_totals(*table), "16 used, 1 evicted, 0 unnamed, 1 collisions", "which counts once");
}

void test_collision_over_two_sets()
{
	const Table table(1024);
	const NamedKey a = key_number(0);
	NamedKey b = {"b", a.id};
	NamedKey c = {"c", a.id};
	KeyRecord record;

	b.id.rest = 4711;
	c.id.rest = 4712;
	fill(*table);

	const Directory::Insertion of_b = insert(*table, b);

	ok(of_b.place && of_b.place.set != table->Find(a.id).set && of_b.collided,
	   "a key in its second set collides with one in its first set");
	ok(insert(*table, c).collided, "and another one with both");
	is(printed_totals(*table), "18 used, 0 evicted, 0 unnamed, 2 collisions", "two collisions");
	for (const NamedKey &last : {b, a, c})
	{
		static int64_t now = 1000;

		count_grants(*table, last.id, 1, now++);
		ok(table->ReadByTag(1, a.id.tag, &record) && stored_name(record) == last.name,
		   "their tag gives the one granted last: " + last.name);
	}

	/* Neither of them in the first one. */
	const Table other(1024);
	NamedKey d = key_number(16);

	fill(*other);
	insert(*other, d);
	d.id.rest = 4711;
	ok(insert(*other, d).collided, "two keys collide in their second set");
}

} // namespace

int main()
{
	test_size();
	test_lookup();
	test_same_place_wanted();
	test_second_set();
	test_two_full_sets();
	test_name_sizes();
	test_name_rewritten();
	test_identities();
	test_databases();
	test_moved();
	test_collisions();
	test_collision_in_full_set();
	test_collision_over_two_sets();
	return tap::done();
}
