/*
 * directory.hpp - names and statistics of keys by tag, in memory that many
 * processes share.
 *
 * Pure: compiles without PostgreSQL, so that it can be unit-tested.
 *
 * A set-associative table of fixed size: a key's tag chooses two sets of 16
 * places. The key is in the first one, or, if that was full when it came, in
 * the second one, or nowhere. A set never has free places again once it was
 * full, so a key is never in both. The second one, if full, gives a place up if
 * the caller says that its key is not in use, and goes round by the clock
 * algorithm of PostgreSQL's buffer manager (usage counts, a hand), so that a
 * stream of keys taken once does not wash out those taken often. What is lost
 * with a place is a name and the counts of one key; the totals keep the counts.
 *
 * Concurrency: who is granted a key or reads takes no lock. Each place has a
 * word of state: a version, odd while the place is rewritten, and the number of
 * grants. A grant is counted by a compare-and-swap on this word, so it cannot
 * land on another key; a reader that sees the same even version before and
 * after has read one key's name whole. Who enters a new key, or counts a wait,
 * takes the set's writer flag, for some dozens of instructions, and gives up
 * after a while: a process stopped in there costs names, and counts of single
 * keys, not progress.
 */
#pragma once

#include "directory_set.hpp"

namespace cs {

/* What the table as a whole has seen. */
struct DirectoryTotals
{
	KeyStatistics statistics; /* of all keys, those included that lost their place */
	uint64_t used;            /* places */
	uint64_t evicted;         /* keys that lost their place */
	uint64_t unnamed;         /* grants, waits and refusals of keys that found none */
	uint64_t collisions;      /* keys that share their tag with another one */
};

class Directory
{
public:
	/* A place and the version it had; once it was rewritten, nothing is counted there. */
	struct Place
	{
		DirectorySet *set;
		uint32_t way;
		uint32_t version;

		explicit operator bool() const
		{
			return set != nullptr;
		}
	};

	struct Insertion
	{
		Place place;   /* none if the sets are full */
		Victim victim; /* then, perhaps: ask whether it is in use and come again */
		bool collided; /* a key with the same tag was there, for the first time */
	};

	static size_t Bytes(uint32_t entries);

	/* In memory of Bytes(entries), aligned to 64; the number is rounded up to whole sets. */
	static Directory *Create(void *memory, uint32_t entries);

	uint32_t Entries() const
	{
		return sets * kPlacesPerSet;
	}

	/*
	 * Ask for the memory that the next calls for this key will need: the head of
	 * its set, as soon as the key is known, and, when that has come, its place.
	 */
	void PrefetchSet(const KeyIdentity &key) const;
	void PrefetchPlace(const KeyIdentity &key) const;

	Place Find(const KeyIdentity &key);

	/*
	 * Finds or enters the key. With full sets nothing happens but the proposal
	 * of a victim; handed in again, its place is used if nobody took its key
	 * since.
	 */
	Insertion Insert(const KeyIdentity &key, const NameToStore &name, const Victim &victim);

	/*
	 * These count, for a key without a place in the totals alone. False if the
	 * place was rewritten since it was found.
	 */
	bool CountGrant(const Place &place, Taker taker, int64_t now);
	bool CountRefusal(const Place &place);
	bool CountWait(const Place &place, WaitEnd end, uint64_t microseconds);

	/* If the key was granted to that session last: how, is no longer known. */
	void ForgetScope(uint32_t database, const KeyTag &tag, int32_t pid);

	/* The key with this tag, of several the one granted last. False if there is none. */
	bool ReadByTag(uint32_t database, const KeyTag &tag, KeyRecord *out) const;

	/* The key in place number `index` of Entries(); false if there is none. */
	bool Read(uint32_t index, KeyRecord *out) const;

	/* Both of these take a while; they call `between` now and then. */
	DirectoryTotals Totals(void (*between)() = [] {}) const;

	/* All counts to zero; the names stay. */
	void ResetStatistics(void (*between)() = [] {});

private:
	DirectorySet *FirstSet() const;
	DirectorySet *SetOf(const KeyIdentity &key) const;
	DirectorySet *SecondSetOf(const KeyIdentity &key) const;
	bool HasTagOf(const KeyIdentity &key) const;
	enum class Room
	{
		kFound,
		kFull,
		kBusy /* somebody is stopped in there */
	};
	Room InsertInto(DirectorySet *set, const KeyIdentity &key, const NameToStore &name,
					const Victim *victim, Insertion *result);
	bool Evict(DirectorySet *set, const Victim &victim);
	template <typename Count> bool CountIn(const Place &place, Count count);

	uint32_t sets;
	std::atomic<uint64_t> evicted;
	std::atomic<uint64_t> unnamed;
	std::atomic<uint64_t> collisions;
	/* The counts of keys that lost their place or found none. */
	std::atomic<uint64_t> other_acquired;
	WaitCounters other_waits;
};

} // namespace cs
