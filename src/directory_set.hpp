/*
 * directory_set.hpp - sixteen places of the directory, as they lie in shared
 * memory: which key is in which place, its name, and how a place changes
 * hands. Who may call what when is said in directory.hpp.
 *
 * Pure: compiles without PostgreSQL.
 */
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "key.hpp"
#include "key_statistics.hpp"

namespace cs {

inline constexpr uint32_t kPlacesPerSet = 16;
inline constexpr uint32_t kNameWords = 9;

/* So much of a key is stored; more is known to be missing. */
inline constexpr uint32_t kStoredNameBytes = kNameWords * sizeof(uint64_t);

/* Which key of which database; rest tells keys apart that share a tag. */
struct KeyIdentity
{
	uint32_t database;
	KeyTag tag;
	uint64_t rest;
};

/* How a key was granted; mixed if it was granted to the same session in both ways, or one was given
 * back. */
enum class GrantScope : uint8_t
{
	kTransaction,
	kSession,
	kMixed
};

/* Who was granted the key last, and how. */
struct Taker
{
	int32_t pid;
	GrantScope scope;
};

/* The name of a key as it is handed in. */
struct NameToStore
{
	const char *bytes;
	uint32_t size;
	uint8_t encoding;
};

/* What is known of one key, read at one moment. */
struct KeyRecord
{
	KeyIdentity key;
	uint32_t name_size; /* of the whole name; kStoredNameBytes of it at most are here */
	uint8_t encoding;
	char name[kStoredNameBytes];
	Taker taker;
	int64_t last_acquired; /* in the caller's clock */
	KeyStatistics statistics;
};

/* A place that may be given to another key if its own is not in use. */
struct Victim
{
	KeyIdentity key;
	Taker taker;
	int64_t last_acquired;
	uint64_t state;
	uint32_t way;
	bool exists;
};

/*
 * The word of state: 20 bits of version, odd while the place is rewritten, and
 * 44 bits of grants. A reader would have to sleep through half a million
 * rewrites of one place to be fooled; the grants last five years at 100,000 per
 * second and then stop counting.
 */
inline constexpr int kGrantBits = 44;
inline constexpr uint64_t kMostGrants = (uint64_t{1} << kGrantBits) - 1;

inline uint32_t VersionOf(uint64_t state)
{
	return static_cast<uint32_t>(state >> kGrantBits);
}

inline uint64_t GrantsOf(uint64_t state)
{
	return state & kMostGrants;
}

/* The state with the next version and no grants. */
inline uint64_t NextState(uint64_t state)
{
	return (state & ~kMostGrants) + kMostGrants + 1;
}

/*
 * What every grant touches: one cache line. The fronts of all sets lie close
 * together, apart from the backs: reading the address of a page costs more than
 * reading the line, and there are as few pages as possible.
 */
struct alignas(64) PlaceFront
{
	std::atomic<uint64_t> state; /* version and number of grants */
	std::atomic<uint64_t> hash_low;
	std::atomic<uint64_t> hash_high;
	std::atomic<int64_t> last_acquired;
	std::atomic<uint32_t> database;
	std::atomic<uint32_t> name_size;
	std::atomic<uint32_t> taker; /* pid and, in the last two bits, scope */
	std::atomic<uint8_t> encoding;
	std::atomic<bool> has_waits; /* else what the back counts is not yet anything */
	std::atomic<uint64_t> name[2];
};

/* What a new key, a wait or a view touches. */
struct PlaceBack
{
	std::atomic<uint64_t> name[kNameWords - 2];
	WaitCounters waits;
};

struct alignas(64) DirectorySet
{
	std::atomic<uint32_t> writer;
	uint32_t hand;                                     /* the writer's */
	std::atomic<uint16_t> fingerprints[kPlacesPerSet]; /* 0 = a free place */
	std::atomic<uint8_t> usage[kPlacesPerSet];
	uint64_t backs_offset; /* from here to the backs */
	PlaceFront fronts[kPlacesPerSet];

	PlaceBack &Back(uint32_t way)
	{
		return reinterpret_cast<PlaceBack *>(reinterpret_cast<char *>(this) + backs_offset)[way];
	}

	const PlaceBack &Back(uint32_t way) const
	{
		return const_cast<DirectorySet *>(this)->Back(way);
	}

	/* Becomes the writer; false if another one did not finish in time. */
	bool Lock();
	void Unlock();

	/* The key's place, or -1; the state it was seen in proves later that it is still the key's. */
	int FindWay(const KeyIdentity &key, uint64_t *state) const;

	/* No place is free; once true, it stays so. */
	bool IsFull() const;

	/* The key in a place, whole; false if there is none. */
	bool Read(uint32_t way, KeyRecord *out) const;

	/* The same for a key with this tag: of several the one granted last, also of those in out. */
	bool ReadByTag(uint32_t database, const KeyTag &tag, bool found, KeyRecord *out) const;

	/* Another key with the same tag is there. */
	bool HasTagOf(const KeyIdentity &key) const;

	/* Asks for the memory of the place where the key probably is; reads the set's head. */
	void PrefetchPlace(const KeyIdentity &key) const;

	/* Somebody takes the key, or waits for it: it is worth keeping. */
	void Use(uint32_t way);

	void SetTaker(uint32_t way, Taker taker);

	/* If the key with this tag was granted to that session last, how is no longer known. */
	void ForgetScope(uint32_t database, const KeyTag &tag, int32_t pid);

	/* The rest is for the writer. */

	int FindFreeWay(const KeyIdentity &key) const;

	/* Few keys are ever waited for: their counters become memory when they are. */
	WaitCounters &Waits(uint32_t way);

	/* Lets the hand go round until it finds a key that nobody took for a while. */
	Victim ProposeVictim();

	/* Enters a key in a place that is free or marked as being rewritten. */
	void Write(uint32_t way, const KeyIdentity &key, const NameToStore &name);

private:
	KeyIdentity Identity(uint32_t way) const;
};

} // namespace cs
