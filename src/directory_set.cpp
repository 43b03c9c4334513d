/*
 * directory_set.cpp - sixteen places of the directory. No PostgreSQL here.
 */
#include <cstring>
#include <ctime>
#include <sched.h>

#include "directory_set.hpp"

#ifdef POSTGRES_H
#error "directory_set.cpp has to compile without PostgreSQL"
#endif

namespace cs {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;

/* As in PostgreSQL's buffer manager: so many rounds of the hand outlives a key taken often. */
constexpr uint8_t kMaxUsage = 5;

/* How long somebody waits for a set's writer: busy, yielding, at last asleep for some 20 ms. */
constexpr int kSpins = 1000;
constexpr int kYields = 1000;
constexpr int kNaps = 20;
constexpr timespec kNap = {0, 1000000};

/* How often a reader tries again while the place is rewritten. */
constexpr int kReads = 100;

bool IsBeingWritten(uint64_t state)
{
	return (VersionOf(state) & 1) != 0;
}

uint64_t HashLow(const KeyIdentity &key)
{
	return key.tag.field2 | static_cast<uint64_t>(key.tag.field3) << 32;
}

uint64_t HashHigh(const KeyIdentity &key)
{
	return key.rest << 15 | (key.tag.field4 & 0x7fff);
}

KeyIdentity IdentityFromHash(uint32_t database, uint64_t low, uint64_t high)
{
	return {database,
			{static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32),
			 static_cast<uint16_t>(0x8000 | (high & 0x7fff))},
			high >> 15};
}

/* The place where a key is looked for first; the others follow. */
uint32_t FirstWay(const KeyIdentity &key)
{
	return key.tag.field2 >> 28;
}

uint16_t Fingerprint(const KeyIdentity &key)
{
	const auto bits = static_cast<uint16_t>(key.tag.field2);

	return bits == 0 ? 1 : bits;
}

Taker TakerOf(const PlaceFront &front)
{
	const uint32_t taker = front.taker.load(kRelaxed);

	return {static_cast<int32_t>(taker >> 2), static_cast<GrantScope>(taker & 3)};
}

bool SharesTag(const KeyIdentity &a, const KeyIdentity &b)
{
	return a.database == b.database && a.tag == b.tag;
}

} // namespace

bool DirectorySet::Lock()
{
	for (int i = 0; i < kSpins + kYields + kNaps; i++)
	{
		if (writer.load(kRelaxed) == 0 && writer.exchange(1, kAcquire) == 0)
			return true;
		/* It was interrupted between two instructions, perhaps with the whole machine. */
		if (i >= kSpins + kYields)
			nanosleep(&kNap, nullptr);
		else if (i >= kSpins)
			sched_yield();
	}
	return false;
}

void DirectorySet::Unlock()
{
	writer.store(0, kRelease);
}

void DirectorySet::Use(uint32_t way)
{
	const uint8_t now = usage[way].load(kRelaxed);

	/* Not exact among several who do it at a time, and it need not be. */
	if (now < kMaxUsage)
		usage[way].store(static_cast<uint8_t>(now + 1), kRelaxed);
}

void DirectorySet::SetTaker(uint32_t way, Taker taker)
{
	const Taker former = TakerOf(fronts[way]);

	if (former.pid == taker.pid && former.scope != taker.scope)
		taker.scope = GrantScope::kMixed;
	fronts[way].taker.store(
		static_cast<uint32_t>(taker.pid) << 2 | static_cast<uint32_t>(taker.scope), kRelaxed);
}

void DirectorySet::ForgetScope(uint32_t database, const KeyTag &tag, int32_t pid)
{
	const KeyIdentity key = {database, tag, 0};

	for (uint32_t way = 0; way < kPlacesPerSet; way++)
		if (fingerprints[way].load(kRelaxed) == Fingerprint(key) && SharesTag(Identity(way), key) &&
			TakerOf(fronts[way]).pid == pid)
			fronts[way].taker.store(static_cast<uint32_t>(pid) << 2 |
										static_cast<uint32_t>(GrantScope::kMixed),
									kRelaxed);
}

WaitCounters &DirectorySet::Waits(uint32_t way)
{
	std::atomic<bool> &has_waits = fronts[way].has_waits;
	WaitCounters &waits = Back(way).waits;

	if (!has_waits.load(kRelaxed))
	{
		waits.Reset();
		has_waits.store(true, kRelease);
	}
	return waits;
}

KeyIdentity DirectorySet::Identity(uint32_t way) const
{
	const PlaceFront &front = fronts[way];

	return IdentityFromHash(front.database.load(kRelaxed), front.hash_low.load(kRelaxed),
							front.hash_high.load(kRelaxed));
}

int DirectorySet::FindWay(const KeyIdentity &key, uint64_t *state) const
{
	const uint16_t fingerprint = Fingerprint(key);
	const uint64_t low = HashLow(key);
	const uint64_t high = HashHigh(key);

	for (uint32_t i = 0; i < kPlacesPerSet; i++)
	{
		const uint32_t way = (FirstWay(key) + i) % kPlacesPerSet;

		if (fingerprints[way].load(kAcquire) != fingerprint)
			continue;

		const PlaceFront &front = fronts[way];

		*state = front.state.load(kAcquire);
		if (!IsBeingWritten(*state) && front.hash_low.load(kRelaxed) == low &&
			front.hash_high.load(kRelaxed) == high && front.database.load(kRelaxed) == key.database)
			return static_cast<int>(way);
	}
	return -1;
}

bool DirectorySet::IsFull() const
{
	bool full = true;

	for (const std::atomic<uint16_t> &fingerprint : fingerprints)
		full &= fingerprint.load(kRelaxed) != 0;
	return full;
}

bool DirectorySet::ReadByTag(uint32_t database, const KeyTag &tag, bool found, KeyRecord *out) const
{
	const KeyIdentity key = {database, tag, 0};
	KeyRecord record;

	for (uint32_t way = 0; way < kPlacesPerSet; way++)
	{
		if (fingerprints[way].load(kRelaxed) != Fingerprint(key) || !Read(way, &record) ||
			!SharesTag(record.key, key))
			continue;
		if (!found || record.last_acquired > out->last_acquired)
			*out = record;
		found = true;
	}
	return found;
}

void DirectorySet::PrefetchPlace(const KeyIdentity &key) const
{
	/* Most keys of a full set are found as early; a choice without a branch waits for nothing. */
	constexpr uint32_t kTries = 5;
	const uint16_t fingerprint = Fingerprint(key);
	uint32_t place = FirstWay(key);

	for (uint32_t i = kTries; i-- > 0;)
	{
		const uint32_t way = (FirstWay(key) + i) % kPlacesPerSet;

		place = fingerprints[way].load(kRelaxed) == fingerprint ? way : place;
	}
	__builtin_prefetch(&fronts[place], 1);
}

int DirectorySet::FindFreeWay(const KeyIdentity &key) const
{
	for (uint32_t i = 0; i < kPlacesPerSet; i++)
	{
		const uint32_t way = (FirstWay(key) + i) % kPlacesPerSet;

		if (fingerprints[way].load(kRelaxed) == 0)
			return static_cast<int>(way);
	}
	return -1;
}

bool DirectorySet::HasTagOf(const KeyIdentity &key) const
{
	for (uint32_t way = 0; way < kPlacesPerSet; way++)
	{
		const KeyIdentity other = Identity(way);

		if (fingerprints[way].load(kRelaxed) == Fingerprint(key) && SharesTag(other, key) &&
			other.rest != key.rest)
			return true;
	}
	return false;
}

Victim DirectorySet::ProposeVictim()
{
	for (uint32_t i = 0; i < kPlacesPerSet * (kMaxUsage + 1); i++)
	{
		const uint32_t way = hand++ % kPlacesPerSet;
		const uint8_t now = usage[way].load(kRelaxed);

		if (now == 0)
			return {Identity(way),
					TakerOf(fronts[way]),
					fronts[way].last_acquired.load(kRelaxed),
					fronts[way].state.load(kRelaxed),
					way,
					true};
		usage[way].store(static_cast<uint8_t>(now - 1), kRelaxed);
	}
	return {};
}

void DirectorySet::Write(uint32_t way, const KeyIdentity &key, const NameToStore &name)
{
	PlaceFront &front = fronts[way];
	PlaceBack &back = Back(way);
	const uint64_t state = front.state.load(kRelaxed);
	const uint64_t writing = IsBeingWritten(state) ? state : NextState(state);
	uint64_t words[kNameWords] = {};

	memcpy(words, name.bytes, name.size < kStoredNameBytes ? name.size : kStoredNameBytes);
	front.state.store(writing, kRelaxed);
	std::atomic_thread_fence(kRelease);
	front.hash_low.store(HashLow(key), kRelaxed);
	front.hash_high.store(HashHigh(key), kRelaxed);
	front.database.store(key.database, kRelaxed);
	front.last_acquired.store(0, kRelaxed);
	front.taker.store(0, kRelaxed);
	front.name_size.store(name.size, kRelaxed);
	front.encoding.store(name.encoding, kRelaxed);
	front.has_waits.store(false, kRelaxed);
	for (uint32_t w = 0; w < kNameWords && w * sizeof(uint64_t) < name.size; w++)
		(w < 2 ? front.name[w] : back.name[w - 2]).store(words[w], kRelaxed);
	front.state.store(NextState(writing), kRelease);
	usage[way].store(1, kRelaxed);
	fingerprints[way].store(Fingerprint(key), kRelease);
}

bool DirectorySet::Read(uint32_t way, KeyRecord *out) const
{
	const PlaceFront &front = fronts[way];
	const PlaceBack &back = Back(way);

	for (int i = 0; i < kReads; i++)
	{
		if (fingerprints[way].load(kAcquire) == 0)
			return false;

		const uint64_t before = front.state.load(kAcquire);
		uint64_t name[kNameWords];

		if (IsBeingWritten(before))
			continue;
		for (uint32_t w = 0; w < kNameWords; w++)
			name[w] = (w < 2 ? front.name[w] : back.name[w - 2]).load(kRelaxed);
		memcpy(out->name, name, sizeof(name));
		out->key = Identity(way);
		out->name_size = front.name_size.load(kRelaxed);
		out->encoding = front.encoding.load(kRelaxed);
		out->last_acquired = front.last_acquired.load(kRelaxed);
		out->taker = TakerOf(front);
		out->statistics = {};
		out->statistics.acquired = GrantsOf(before);
		if (front.has_waits.load(kAcquire))
			back.waits.AddTo(&out->statistics);
		std::atomic_thread_fence(kAcquire);
		if (VersionOf(front.state.load(kRelaxed)) == VersionOf(before))
			return true;
	}
	return false;
}

} // namespace cs
