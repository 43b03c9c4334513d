/*
 * statistics.cpp - counts in the directory, and makes room in it.
 */
#include <ctime>

#include "lock_tag.hpp"
#include "printable.hpp"
#include "statistics.hpp"

namespace cs {

bool collision_to_tell;

namespace {

/* Of a full set, so many keys are looked at; if all are in use, the new one gets no name. */
constexpr int kMostVictims = 2;

/* The wait that goes on: a session can only wait for one lock at a time. */
struct Wait
{
	bool open;
	KeyIdentity key;
	instr_time start;
};

Wait wait;

/* The time, a few milliseconds late at most, which is cheap: each grant reads it. */
TimestampTz RecentTimestamp()
{
#ifdef CLOCK_REALTIME_COARSE
	timespec now;

	if (clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0)
		return (now.tv_sec - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * int64{SECS_PER_DAY}) *
				   USECS_PER_SEC +
			   now.tv_nsec / 1000;
#endif
	return GetCurrentTimestamp();
}

/*
 * Does anybody hold the victim's key or wait for it? The lock manager knows;
 * but a transaction that takes more keys than there are places meets its own
 * again and again, and need not ask. The margin is for RecentTimestamp.
 */
bool IsInUse(const Victim &victim)
{
	const LOCKTAG tag = LockTag(victim.key.tag, victim.key.database);

	if (victim.taker.pid == MyProcPid && victim.taker.scope == GrantScope::kTransaction &&
		victim.last_acquired > GetCurrentTransactionStartTimestamp() - USECS_PER_SEC / 100)
		return true;
	return LockWaiterCount(&tag) > 0;
}

/* A key that was found to share its lock; told when nothing can go wrong with that. */
struct Collision
{
	uint32 size;
	KeyTag tag;
	char bytes[kMaxKeyBytes];
};

Collision collision;

void RememberCollision(const Key &key)
{
	collision_to_tell = true;
	collision.size = key.size;
	collision.tag = key.tag;
	memcpy(collision.bytes, key.bytes, key.size);
}

/* Enters a key that is not there; its place is none if those of its set are all in use. */
[[gnu::noinline]] Directory::Place Enter(const Key &key)
{
	const NameToStore name = {key.bytes, key.size, static_cast<uint8_t>(GetDatabaseEncoding())};
	Directory::Insertion result = directory->Insert(Identity(key), name, {});

	for (int i = 0; i < kMostVictims && !result.place && result.victim.exists; i++)
	{
		const bool in_use = IsInUse(result.victim);

		if (in_use && i == kMostVictims - 1)
			break;
		result = directory->Insert(Identity(key), name, in_use ? Victim{} : result.victim);
	}
	if (result.collided)
		RememberCollision(key);
	return result.place;
}

Directory::Place FindOrEnter(const Key &key)
{
	const Directory::Place place = directory->Find(Identity(key));

	return place ? place : Enter(key);
}

void end_of_transaction(XactEvent event, [[maybe_unused]] void *arg)
{
	/* A session that is terminated while it waits gets here first. */
	if (event == XACT_EVENT_ABORT)
		EndWait(WaitEnd::kOther);
	else if (event == XACT_EVENT_PRE_COMMIT)
		tell_collision();
}

} // namespace

/* Only the server's log may show keys of others. */
void tell_found_collision()
{
	collision_to_tell = false;
	ereport(LOG_SERVER_ONLY,
			(errmsg("key \"%s\" shares its lock with another key",
					printable(collision.bytes, collision.size)),
			 errdetail("Both have the lock tag %u, %u, %d.", collision.tag.field2,
					   collision.tag.field3, collision.tag.field4),
			 errhint("Whoever wants one of them may wait for the other without need.")));
}

void CountGrantInDirectory(const Key &key, Scope scope)
{
	const Taker taker = {MyProcPid, scope == Scope::kSession ? GrantScope::kSession
															 : GrantScope::kTransaction};
	const TimestampTz now = RecentTimestamp();

	/* A place may be lost as soon as it was found: its key is not in use by then. */
	while (!directory->CountGrant(FindOrEnter(key), taker, now))
		;
}

void CountRefusalInDirectory(const Key &key)
{
	while (!directory->CountRefusal(FindOrEnter(key)))
		;
}

void BeginWait(const Key &key)
{
	if (directory == nullptr)
		return;
	FindOrEnter(key);
	wait = {true, Identity(key), {}};
	INSTR_TIME_SET_CURRENT(wait.start);
}

void EndWait(WaitEnd end)
{
	instr_time elapsed;

	if (!wait.open)
		return;
	wait.open = false;
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, wait.start);
	while (!directory->CountWait(directory->Find(wait.key), end,
								 static_cast<uint64_t>(INSTR_TIME_GET_MICROSEC(elapsed))))
		;
}

void watch_waits()
{
	RegisterXactCallback(end_of_transaction, nullptr);
}

} // namespace cs
