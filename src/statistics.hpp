/*
 * statistics.hpp - what the lock room tells the directory: who was granted
 * what, who waited how long, who went away without.
 *
 * Without shared memory nothing of this does anything. What counts does not
 * fail, so that it can be called when a lock has just been granted. A key enters the
 * directory when it is granted, waited for or refused.
 */
#pragma once

#include "key.hpp"
#include "lock_mode.hpp"
#include "shared_memory.hpp"

namespace cs {

/* The key of this database, for the directory. */
inline KeyIdentity Identity(const Key &key)
{
	return {MyDatabaseId, key.tag, key.rest};
}

/* The key will be locked soon. */
inline void AnnounceKey(const Key &key)
{
	if (directory != nullptr)
		directory->PrefetchSet(Identity(key));
}

/* Before the lock is asked for: lets the memory come while the lock manager works. */
inline void PrefetchStatistics(const Key &key)
{
	if (directory != nullptr)
		directory->PrefetchPlace(Identity(key));
}

/* For what follows when there is a directory. */
void CountGrantInDirectory(const Key &key, Scope scope);
void CountRefusalInDirectory(const Key &key);

/* The session was granted a lock that it did not hold, or holds once more in session scope. */
inline void CountGrant(const Key &key, Scope scope)
{
	if (directory != nullptr)
		CountGrantInDirectory(key, scope);
}

/* The lock was not free, and there was no time to wait for it. */
inline void CountRefusal(const Key &key)
{
	if (directory != nullptr)
		CountRefusalInDirectory(key);
}

/* A key was found to share its lock with another one. */
extern bool collision_to_tell;
void tell_found_collision();

/* Tells the server's log about it, once. */
inline void tell_collision()
{
	if (collision_to_tell)
		tell_found_collision();
}

/* A wait begins; it ends with EndWait, or when the transaction aborts. */
void BeginWait(const Key &key);
void EndWait(WaitEnd end);

/* Registers for the ends of transactions; called once, when the library is loaded. */
void watch_waits();

} // namespace cs
