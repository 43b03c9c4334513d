/*
 * table.hpp - a directory for a test, keys for it, and its contents as text.
 */
#pragma once

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "directory.hpp"

namespace table {

using cs::Directory;
using cs::KeyIdentity;
using cs::KeyRecord;
using cs::KeyStatistics;

inline constexpr uint64_t kSeed = 7123456789012345678;
inline constexpr uint8_t kEncoding = 6;
inline constexpr cs::Taker kTaker = {4711, cs::GrantScope::kTransaction};

struct FreeMemory
{
	void operator()(char *memory) const
	{
		std::free(memory);
	}
};

using Memory = std::unique_ptr<char, FreeMemory>;

/* Exactly as much as was asked for, full of ones: nothing may rely on zeros. */
inline Memory make_memory(size_t size)
{
	Memory memory(static_cast<char *>(std::aligned_alloc(64, size)));

	std::memset(memory.get(), 0xff, size);
	return memory;
}

class Table
{
public:
	explicit Table(uint32_t entries)
		: memory(make_memory(Directory::Bytes(entries))),
		  directory(Directory::Create(memory.get(), entries))
	{
	}

	Directory *operator->() const
	{
		return directory;
	}

	Directory &operator*() const
	{
		return *directory;
	}

private:
	Memory memory;
	Directory *directory;
};

struct NamedKey
{
	std::string name;
	KeyIdentity id;
};

/* As the extension makes them. */
inline NamedKey key_of(const std::string &name, uint32_t database = 1)
{
	const cs::Key key = cs::MakeKey(name.data(), name.size(), kSeed);

	return {name, {database, key.tag, key.rest}};
}

/* Key number n of those that all have the same first set and differ in the second. */
inline NamedKey key_number(uint32_t n)
{
	return {"key " + std::to_string(n), {1, {n, 0, 0x8000}, n}};
}

inline Directory::Insertion insert(Directory &directory, const NamedKey &key,
								   const cs::Victim &victim = {}, uint8_t encoding = kEncoding)
{
	/* A copy of exactly this size: whoever reads on is seen by the address sanitizer. */
	const std::vector<char> bytes(key.name.begin(), key.name.end());
	const cs::NameToStore name = {bytes.data(), static_cast<uint32_t>(bytes.size()), encoding};

	return directory.Insert(key.id, name, victim);
}

inline bool got_place(const Directory::Insertion &result)
{
	return static_cast<bool>(result.place);
}

/* Enters the key at the cost of another one, whoever that is. */
inline Directory::Insertion insert_by_force(Directory &directory, const NamedKey &key)
{
	const Directory::Insertion first = insert(directory, key);

	return first.place ? first : insert(directory, key, first.victim);
}

/* Enters keys 0 to 15: their set is full then. */
inline void fill(Directory &directory)
{
	for (uint32_t n = 0; n < cs::kPlacesPerSet; n++)
		insert(directory, key_number(n));
}

inline bool same(const KeyIdentity &a, const KeyIdentity &b)
{
	return a.database == b.database && a.tag == b.tag && a.rest == b.rest;
}

inline bool same(const Directory::Place &a, const Directory::Place &b)
{
	return a.set == b.set && a.way == b.way && a.version == b.version;
}

/* What all places together say about a key; false unless exactly one has it. */
inline bool read(const Directory &directory, const KeyIdentity &key, KeyRecord *out)
{
	KeyRecord record;
	int found = 0;

	for (uint32_t i = 0; i < directory.Entries(); i++)
		if (directory.Read(i, &record) && same(record.key, key))
		{
			*out = record;
			found++;
		}
	return found == 1;
}

inline std::string stored_name(const KeyRecord &record)
{
	return {record.name,
			record.name_size < cs::kStoredNameBytes ? record.name_size : cs::kStoredNameBytes};
}

inline std::string name_of(const Directory &directory, const KeyIdentity &key)
{
	KeyRecord record;

	return read(directory, key, &record) ? stored_name(record) : "nothing";
}

inline std::string printed(const KeyStatistics &statistics)
{
	std::string text = std::to_string(statistics.acquired) + " acquired, " +
					   std::to_string(statistics.timed_out) + " timed out, " +
					   std::to_string(statistics.deadlocked) + " deadlocked, " +
					   std::to_string(statistics.wait_us_total) + " us, longest " +
					   std::to_string(std::llround(statistics.wait_ms_max * 1000)) + " us, waits";

	for (const uint64_t waits : statistics.histogram)
		text += " " + std::to_string(waits);
	return text;
}

inline std::string statistics_of(const Directory &directory, const KeyIdentity &key)
{
	KeyRecord record;

	return read(directory, key, &record) ? printed(record.statistics) : "nothing";
}

inline const std::string kNoCounts =
	"0 acquired, 0 timed out, 0 deadlocked, 0 us, longest 0 us, waits 0 0 0 0 0 0 0 0 0 0 0 0 0";

/* What is known of the whole, but the counts of keys. */
inline std::string printed_totals(const Directory &directory)
{
	const cs::DirectoryTotals totals = directory.Totals();

	return std::to_string(totals.used) + " used, " + std::to_string(totals.evicted) + " evicted, " +
		   std::to_string(totals.unnamed) + " unnamed, " + std::to_string(totals.collisions) +
		   " collisions";
}

inline void count_grants(Directory &directory, const KeyIdentity &key, int count,
						 int64_t now = 1000)
{
	while (count-- > 0)
		directory.CountGrant(directory.Find(key), kTaker, now);
}

} // namespace table
