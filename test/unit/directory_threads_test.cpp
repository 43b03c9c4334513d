/*
 * directory_threads_test.cpp - several threads use one directory, without a
 * server: their counts have to come out exact, and none may see half a name.
 * Prints TAP.
 */
#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "random.hpp"
#include "table.hpp"
#include "tap.hpp"

namespace {

using cs::Directory;
using cs::KeyIdentity;
using cs::KeyRecord;
using cs::KeyStatistics;
using cs::WaitEnd;
using table::fill;
using table::insert;
using table::key_number;
using table::key_of;
using table::kTaker;
using table::make_memory;
using table::Memory;
using table::NamedKey;
using table::printed;
using table::read;
using table::same;
using table::stored_name;
using table::Table;
using tap::is;
using tap::ok;

/* Runs function(0), function(1), ... at a time, all beginning together. */
template <typename Function> void run_threads(int count, Function function)
{
	std::vector<std::thread> threads;
	std::atomic<int> ready = 0;

	threads.reserve(static_cast<size_t>(count));
	for (int t = 0; t < count; t++)
		threads.emplace_back([&ready, &function, count, t] {
			ready++;
			while (ready < count)
				std::this_thread::yield();
			function(t);
		});
	for (std::thread &thread : threads)
		thread.join();
}

Directory::Place find_or_insert(Directory &directory, const NamedKey &key)
{
	const Directory::Place place = directory.Find(key.id);

	return place ? place : insert(directory, key).place;
}

/*
 * Counts something for a key, and the same in what is expected. No wait times
 * out, so that timed_out is the number of refusals.
 */
void count_something(Directory &directory, const NamedKey &key, Random &random,
					 KeyStatistics &expected)
{
	constexpr WaitEnd kEnds[] = {WaitEnd::kGranted, WaitEnd::kDeadlocked, WaitEnd::kOther};
	const uint32_t what = random.Below(8U);

	if (what < 4)
	{
		while (!directory.CountGrant(find_or_insert(directory, key), kTaker, 1000))
			;
		expected.acquired++;
	}
	else if (what < 5)
	{
		while (!directory.CountRefusal(find_or_insert(directory, key)))
			;
		expected.timed_out++;
	}
	else
	{
		const WaitEnd end = kEnds[random.Below(std::size(kEnds))];
		const uint32_t bucket = random.Below(cs::kWaitBuckets);
		const uint64_t us = (uint64_t{1000} << bucket) / 2 + random.Below(400U);

		while (!directory.CountWait(find_or_insert(directory, key), end, us))
			;
		expected.deadlocked += end == WaitEnd::kDeadlocked ? 1 : 0;
		expected.wait_us_total += us;
		expected.wait_ms_max = std::max(expected.wait_ms_max, static_cast<double>(us) / 1000);
		expected.histogram[bucket]++;
	}
}

/* All threads count in the same counters, longer and longer waits. */
void test_counters()
{
	constexpr uint64_t kWaits = 200000;
	const Memory memory = make_memory(sizeof(cs::WaitCounters) / 64 * 64 + 64);
	auto *counters = reinterpret_cast<cs::WaitCounters *>(memory.get());
	std::atomic<uint64_t> waits = 0;
	std::atomic<uint64_t> too_short = 0;
	KeyStatistics sum = {};

	counters->Reset();
	run_threads(4, [&](int) {
		for (uint64_t us = ++waits; us <= kWaits; us = ++waits)
		{
			KeyStatistics now = {};

			counters->CountWait(us % 2 == 0 ? WaitEnd::kTimedOut : WaitEnd::kDeadlocked, us);
			counters->AddTo(&now);
			if (now.wait_ms_max * 1000 + 0.5 < static_cast<double>(us))
				too_short++;
		}
	});
	counters->AddTo(&sum);
	is(printed(sum),
	   "0 acquired, 100000 timed out, 100000 deadlocked, 20000100000 us, longest 200000 us, "
	   "waits 999 1000 2000 4000 8000 16000 32000 64000 72001 0 0 0 0",
	   "four threads count 200,000 waits");
	is(too_short.load(), 0, "the longest wait never gets shorter");
}

void test_writers()
{
	constexpr int kTurns = 50000;
	const Table table(16);
	cs::DirectorySet *set = insert(*table, key_number(0)).place.set;
	uint64_t turns = 0;

	run_threads(4, [&](int) {
		for (int i = 0; i < kTurns; i++)
		{
			while (!set->Lock())
				;
			turns++;
			set->Unlock();
		}
	});
	is(turns, 200000, "a set has one writer at a time");
}

/* How often something was counted for that. */
uint64_t events(const KeyStatistics &statistics)
{
	return statistics.acquired + statistics.timed_out + statistics.Waited();
}

/* Keys that have the same first set, where not all of them fit in, and other second ones. */
std::vector<NamedKey> crowded_keys(size_t count)
{
	const Table table(1024);
	std::vector<NamedKey> keys;

	fill(*table);
	for (uint32_t n = cs::kPlacesPerSet; keys.size() < count && n < 1000; n++)
		if (insert(*table, key_number(n)).place)
			keys.push_back(key_number(n));
	return keys;
}

/*
 * All threads count for the same keys, which are new to all of them. A count
 * is in the totals alone if its thread had to wait too long for another one that
 * enters a key and does not run.
 */
void test_counting_together()
{
	constexpr int kThreads = 4;
	constexpr uint64_t kRounds = 40;
	constexpr uint32_t kKeys = 48;
	constexpr int kCounts = 1500;
	uint64_t exact_rounds = 0;
	uint64_t totals_wrong = 0;
	uint64_t keys_wrong = 0;
	uint64_t entered = 0;

	for (uint64_t round = 0; round < kRounds; round++)
	{
		const Table table(1024);
		std::vector<NamedKey> keys = crowded_keys(kKeys / 2);
		std::vector<std::vector<KeyStatistics>> counted(kThreads);

		for (uint32_t k = kKeys / 2; k < kKeys; k++)
			keys.push_back(key_of("round " + std::to_string(round) + " key " + std::to_string(k)));
		run_threads(kThreads, [&](int t) {
			std::vector<KeyStatistics> mine(kKeys);
			Random random(round * kThreads + static_cast<uint64_t>(t));

			for (uint32_t k = 0; k < kKeys; k++)
				count_something(*table, keys[k], random, mine[k]);
			for (int i = 0; i < kCounts; i++)
			{
				const uint32_t k = random.Below(kKeys);

				count_something(*table, keys[k], random, mine[k]);
			}
			counted[static_cast<size_t>(t)] = std::move(mine);
		});

		const cs::DirectoryTotals totals = table->Totals();
		KeyStatistics all = {};
		uint64_t missing = 0;
		bool exact = true;

		for (uint32_t k = 0; k < kKeys; k++)
		{
			KeyStatistics expected = {};
			KeyRecord record = {};

			for (const std::vector<KeyStatistics> &of_thread : counted)
				expected.Add(of_thread[k]);
			all.Add(expected);
			entered += read(*table, keys[k].id, &record) ? 1 : 0;
			exact = exact && printed(record.statistics) == printed(expected);
			missing += events(expected) - events(record.statistics);
		}
		totals_wrong += printed(totals.statistics) == printed(all) ? 0 : 1;
		keys_wrong += exact == (missing == 0) && totals.unnamed <= missing ? 0 : 1;
		exact_rounds += exact ? 1 : 0;
	}
	is(entered, kRounds * kKeys, "several threads enter each key once");
	is(totals_wrong, 0, "their counts are exact in the totals");
	is(keys_wrong, 0, "and for each key, but for those in the totals alone");
	ok(exact_rounds > kRounds / 2, "which are none in most rounds");
}

/*
 * Keys whose every part follows from their number, many more than there are
 * places, and who uses them, as the lock manager would know.
 */
class Crowd
{
public:
	static constexpr uint32_t kKeys = 600;

	Crowd() : users(kKeys)
	{
		for (uint32_t n = 0; n < kKeys; n++)
		{
			std::string name = std::to_string(n);

			while (name.size() < 1 + n * 7 % 90)
				name += static_cast<char>('a' + (n + name.size() / 8) % 26);
			keys.push_back(key_of(name, 1 + n % 3));
			keys[n].id.rest = n;
		}
	}

	const NamedKey &Number(uint32_t n) const
	{
		return keys[n];
	}

	static uint8_t EncodingOf(uint32_t n)
	{
		return static_cast<uint8_t>(n % 41);
	}

	/* All waits for a key are equally long. */
	static uint64_t WaitOf(uint32_t n)
	{
		return 1000 + n;
	}

	void Use(uint32_t n)
	{
		users[n].fetch_add(1);
		std::atomic_thread_fence(std::memory_order_seq_cst);
	}

	void EndUse(uint32_t n)
	{
		users[n].fetch_sub(1);
	}

	bool IsInUse(const KeyIdentity &key) const
	{
		std::atomic_thread_fence(std::memory_order_seq_cst);
		return users[key.rest].load() > 0;
	}

	/* Is this one of the keys, whole, with nothing of another one? */
	bool Knows(const KeyRecord &record) const
	{
		if (record.key.rest >= kKeys)
			return false;

		const auto n = static_cast<uint32_t>(record.key.rest);
		const NamedKey &key = keys[n];
		const double longest = record.statistics.wait_ms_max * 1000;

		return same(record.key, key.id) && record.name_size == key.name.size() &&
			   stored_name(record) == key.name.substr(0, cs::kStoredNameBytes) &&
			   record.encoding == EncodingOf(n) &&
			   (longest == 0 || std::llround(longest) == static_cast<int64_t>(WaitOf(n)));
	}

private:
	std::vector<NamedKey> keys;
	std::vector<std::atomic<int>> users;
};

/* As the extension does it: of a full set, two keys at most are looked at. */
Directory::Place find_or_enter(Directory &directory, const Crowd &crowd, uint32_t n)
{
	const NamedKey &key = crowd.Number(n);
	const uint8_t encoding = Crowd::EncodingOf(n);
	const Directory::Place place = directory.Find(key.id);

	if (place)
		return place;

	Directory::Insertion result = insert(directory, key, {}, encoding);

	for (int i = 0; i < 2 && !result.place && result.victim.exists; i++)
		result = insert(directory, key,
						crowd.IsInUse(result.victim.key) ? cs::Victim{} : result.victim, encoding);
	return result.place;
}

/* Takes keys at random, some after a wait. */
void take_keys(Directory &directory, Crowd &crowd, uint64_t seed, KeyStatistics *counted)
{
	constexpr int kTakes = 60000;
	Random random(seed);

	for (int i = 0; i < kTakes; i++)
	{
		const uint32_t n = random.Below(Crowd::kKeys);
		const uint64_t us = Crowd::WaitOf(n);

		crowd.Use(n);
		while (!directory.CountGrant(find_or_enter(directory, crowd, n), kTaker, i + 1))
			;
		counted->acquired++;
		if (random.Below(4U) == 0)
		{
			while (!directory.CountWait(directory.Find(crowd.Number(n).id), WaitEnd::kGranted, us))
				;
			counted->wait_us_total += us;
			counted->wait_ms_max = std::max(counted->wait_ms_max, static_cast<double>(us) / 1000);
			counted->histogram[1]++;
		}
		crowd.EndUse(n);
		/* Nobody uses the key: its place may be lost at any moment. */
		if (random.Below(4U) == 0)
		{
			while (!directory.CountRefusal(find_or_enter(directory, crowd, n)))
				;
			counted->timed_out++;
		}
	}
}

/* What somebody saw who read on and on. */
struct Seen
{
	uint64_t records;
	uint64_t torn;
};

void read_on(const Directory &directory, const Crowd &crowd, const std::atomic<int> &writers,
			 Seen *seen)
{
	Random random(4711);
	KeyRecord record;

	/* Once more at the end, so that there is something to be seen. */
	for (bool last = false; !last;)
	{
		last = writers == 0;
		for (uint32_t i = 0; i < directory.Entries(); i++)
			if (directory.Read(i, &record))
			{
				seen->records++;
				seen->torn += crowd.Knows(record) ? 0 : 1;
			}

		const KeyIdentity &id = crowd.Number(random.Below(Crowd::kKeys)).id;

		if (directory.ReadByTag(id.database, id.tag, &record))
			seen->torn += crowd.Knows(record) && same(record.key, id) ? 0 : 1;
	}
}

/* Two threads take keys that do not fit in, two others read meanwhile. */
void test_reading_meanwhile()
{
	const Table table(32);
	Crowd crowd;
	KeyStatistics counted[2] = {};
	Seen seen[2] = {};
	std::atomic<int> writers = 2;

	run_threads(4, [&](int t) {
		if (t < 2)
		{
			take_keys(*table, crowd, static_cast<uint64_t>(t), &counted[t]);
			writers--;
		}
		else
			read_on(*table, crowd, writers, &seen[t - 2]);
	});
	counted[0].Add(counted[1]);

	const cs::DirectoryTotals totals = table->Totals();
	std::set<uint64_t> there;
	KeyRecord record;

	for (uint32_t i = 0; i < table->Entries(); i++)
		if (table->Read(i, &record))
			there.insert(record.key.rest);
	is(seen[0].torn + seen[1].torn, 0, "nobody sees a torn name, or one with another key's waits");
	ok(seen[0].records + seen[1].records > 0, "names were seen");
	is(there.size(), 32, "no key has two places");
	ok(totals.used == 32 && totals.evicted > 1000, "while they were written over and over");
	is(printed(totals.statistics), printed(counted[0]), "no count was lost");
}

} // namespace

int main()
{
	test_counters();
	test_writers();
	test_counting_together();
	test_reading_meanwhile();
	return tap::done();
}
