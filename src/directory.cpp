/*
 * directory.cpp - the shared table of key names and statistics. No PostgreSQL here.
 */
#include <cstring>

#include "directory.hpp"

#ifdef POSTGRES_H
#error "directory.cpp has to compile without PostgreSQL"
#endif

namespace cs {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kRelease = std::memory_order_release;

/* The sets begin on a cache line of their own. */
constexpr size_t kSetsOffset =
	(sizeof(Directory) + alignof(DirectorySet) - 1) / alignof(DirectorySet) * alignof(DirectorySet);

/* Places to look at before the caller is asked whether to go on. */
constexpr uint32_t kPlacesBetween = 4096;

/* The backs of a set, in bytes. */
constexpr size_t kBacksSize = size_t{kPlacesPerSet} * sizeof(PlaceBack);

uint32_t SetsFor(uint32_t entries)
{
	return (entries + kPlacesPerSet - 1) / kPlacesPerSet;
}

} // namespace

size_t Directory::Bytes(uint32_t entries)
{
	static_assert(sizeof(PlaceFront) == 64 && sizeof(PlaceBack) == 184);
	static_assert(sizeof(DirectorySet) + kBacksSize <= size_t{kPlacesPerSet} * 256,
				  "256 bytes a key is a promise");
	static_assert(std::atomic<uint64_t>::is_always_lock_free);

	return kSetsOffset + SetsFor(entries) * (sizeof(DirectorySet) + kBacksSize);
}

/* First all sets with their fronts, then all backs. */
Directory *Directory::Create(void *memory, uint32_t entries)
{
	auto *directory = static_cast<Directory *>(memory);

	/* The backs become memory one by one, when they are used. */
	memset(memory, 0, kSetsOffset + SetsFor(entries) * sizeof(DirectorySet));
	directory->sets = SetsFor(entries);
	for (uint32_t i = 0; i < directory->sets; i++)
		directory->FirstSet()[i].backs_offset =
			(directory->sets - i) * sizeof(DirectorySet) + i * kBacksSize;
	return directory;
}

DirectorySet *Directory::FirstSet() const
{
	auto *start = reinterpret_cast<char *>(const_cast<Directory *>(this));

	return reinterpret_cast<DirectorySet *>(start + kSetsOffset);
}

/* Field 3 chooses the set; the databases are spread, since each may have the same keys. */
DirectorySet *Directory::SetOf(const KeyIdentity &key) const
{
	const uint32_t mixed = key.tag.field3 ^ key.database * 0x9e3779b1u;

	return FirstSet() + (static_cast<uint64_t>(mixed) * sets >> 32);
}

/* Chosen by other bits, so that the keys of a full set are spread over many others. */
DirectorySet *Directory::SecondSetOf(const KeyIdentity &key) const
{
	const uint32_t mixed = (key.tag.field2 ^ key.database) * 0x85ebca6bu;

	return FirstSet() + (static_cast<uint64_t>(mixed) * sets >> 32);
}

void Directory::PrefetchSet(const KeyIdentity &key) const
{
	__builtin_prefetch(SetOf(key), 1);
}

void Directory::PrefetchPlace(const KeyIdentity &key) const
{
	SetOf(key)->PrefetchPlace(key);
}

Directory::Place Directory::Find(const KeyIdentity &key)
{
	DirectorySet *set = SetOf(key);
	uint64_t state = 0;
	int way = set->FindWay(key, &state);

	if (way < 0 && set->IsFull())
	{
		set = SecondSetOf(key);
		way = set->FindWay(key, &state);
	}
	if (way < 0)
		return {nullptr, 0, 0};
	return {set, static_cast<uint32_t>(way), VersionOf(state)};
}

/* Empties the victim's place, if its key was not granted to anybody since; leaves it marked. */
bool Directory::Evict(DirectorySet *set, const Victim &victim)
{
	PlaceFront &front = set->fronts[victim.way];
	uint64_t state = victim.state;

	if (!front.state.compare_exchange_strong(state, NextState(state), std::memory_order_acq_rel))
		return false;
	std::atomic_thread_fence(kRelease);
	other_acquired.fetch_add(GrantsOf(state), kRelaxed);
	if (front.has_waits.load(kRelaxed))
	{
		KeyStatistics lost = {};

		set->Back(victim.way).waits.AddTo(&lost);
		other_waits.Add(lost);
	}
	evicted.fetch_add(1, kRelaxed);
	return true;
}

bool Directory::HasTagOf(const KeyIdentity &key) const
{
	return SetOf(key)->HasTagOf(key) || SecondSetOf(key)->HasTagOf(key);
}

/*
 * Finds or enters the key in that set. Where a key may be evicted, a victim is
 * handed in, or proposed.
 */
Directory::Room Directory::InsertInto(DirectorySet *set, const KeyIdentity &key,
									  const NameToStore &name, const Victim *victim,
									  Insertion *result)
{
	uint64_t state = 0;

	if (!set->Lock())
		return Room::kBusy;

	int way = set->FindWay(key, &state);

	if (way < 0)
	{
		way = set->FindFreeWay(key);
		if (way < 0 && victim != nullptr && victim->exists && Evict(set, *victim))
			way = static_cast<int>(victim->way);
		if (way >= 0)
		{
			result->collided = HasTagOf(key);
			set->Write(static_cast<uint32_t>(way), key, name);
		}
	}
	if (way >= 0)
		result->place = {set, static_cast<uint32_t>(way),
						 VersionOf(set->fronts[way].state.load(kRelaxed))};
	else if (victim != nullptr)
		result->victim = set->ProposeVictim();
	set->Unlock();
	return way >= 0 ? Room::kFound : Room::kFull;
}

Directory::Insertion Directory::Insert(const KeyIdentity &key, const NameToStore &name,
									   const Victim &victim)
{
	Insertion result = {};

	if (InsertInto(SetOf(key), key, name, nullptr, &result) == Room::kFull)
		InsertInto(SecondSetOf(key), key, name, &victim, &result);
	if (result.collided)
		collisions.fetch_add(1, kRelaxed);
	return result;
}

bool Directory::CountGrant(const Place &place, Taker taker, int64_t now)
{
	if (!place)
	{
		unnamed.fetch_add(1, kRelaxed);
		other_acquired.fetch_add(1, kRelaxed);
		return true;
	}

	PlaceFront &front = place.set->fronts[place.way];
	uint64_t state = front.state.load(kRelaxed);

	do
	{
		if (VersionOf(state) != place.version)
			return false;
	} while (GrantsOf(state) < kMostGrants &&
			 !front.state.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel));
	front.last_acquired.store(now, kRelaxed);
	place.set->SetTaker(place.way, taker);
	place.set->Use(place.way);
	return true;
}

/* Counts in the counters of the place; under the flag, so that it is not lost in an eviction. */
template <typename Count> bool Directory::CountIn(const Place &place, Count count)
{
	if (!place)
		unnamed.fetch_add(1, kRelaxed);
	if (!place || !place.set->Lock())
	{
		count(other_waits);
		return true;
	}

	const uint64_t state = place.set->fronts[place.way].state.load(kRelaxed);
	const bool there = VersionOf(state) == place.version;

	if (there)
	{
		count(place.set->Waits(place.way));
		place.set->Use(place.way);
	}
	place.set->Unlock();
	return there;
}

bool Directory::CountRefusal(const Place &place)
{
	return CountIn(place, [](WaitCounters &waits) {
		waits.CountRefusal();
	});
}

bool Directory::CountWait(const Place &place, WaitEnd end, uint64_t microseconds)
{
	return CountIn(place, [end, microseconds](WaitCounters &waits) {
		waits.CountWait(end, microseconds);
	});
}

void Directory::ForgetScope(uint32_t database, const KeyTag &tag, int32_t pid)
{
	const KeyIdentity key = {database, tag, 0};

	SetOf(key)->ForgetScope(database, tag, pid);
	SecondSetOf(key)->ForgetScope(database, tag, pid);
}

bool Directory::ReadByTag(uint32_t database, const KeyTag &tag, KeyRecord *out) const
{
	const KeyIdentity key = {database, tag, 0};
	const bool found = SetOf(key)->ReadByTag(database, tag, false, out);

	return SecondSetOf(key)->ReadByTag(database, tag, found, out) || found;
}

bool Directory::Read(uint32_t index, KeyRecord *out) const
{
	return FirstSet()[index / kPlacesPerSet].Read(index % kPlacesPerSet, out);
}

DirectoryTotals Directory::Totals(void (*between)()) const
{
	DirectoryTotals totals = {};
	KeyRecord record;

	for (uint32_t i = 0; i < Entries(); i++)
	{
		if (i % kPlacesBetween == 0)
			between();
		if (!Read(i, &record))
			continue;
		totals.used++;
		totals.statistics.Add(record.statistics);
	}
	totals.statistics.acquired += other_acquired.load(kRelaxed);
	other_waits.AddTo(&totals.statistics);
	totals.evicted = evicted.load(kRelaxed);
	totals.unnamed = unnamed.load(kRelaxed);
	totals.collisions = collisions.load(kRelaxed);
	return totals;
}

void Directory::ResetStatistics(void (*between)())
{
	for (uint32_t i = 0; i < Entries(); i++)
	{
		if (i % kPlacesBetween == 0)
			between();

		DirectorySet &set = FirstSet()[i / kPlacesPerSet];
		PlaceFront &front = set.fronts[i % kPlacesPerSet];

		/* The version and, with it, whatever is known of the place stays. */
		front.state.fetch_and(~kMostGrants, kRelaxed);
		if (front.has_waits.load(std::memory_order_acquire))
			set.Back(i % kPlacesPerSet).waits.Reset();
	}
	other_acquired.store(0, kRelaxed);
	other_waits.Reset();
	evicted.store(0, kRelaxed);
	unnamed.store(0, kRelaxed);
	collisions.store(0, kRelaxed);
}

} // namespace cs
