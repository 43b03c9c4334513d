/*
 * deadlock_entry.hpp - what is written into one entry of the deadlock history.
 */
#pragma once

#include "deadlock_ring.hpp"

namespace cs {

/* An empty entry, of now and in the encoding of this database. */
void BeginDeadlock(Deadlock *deadlock);

/*
 * Reads the detail of a deadlock error: who waits for what, the victim first.
 * key is the name of the key that the victim waited for, if the caller knows
 * it. False if no key took part.
 */
bool ReadDeadlock(const char *detail, const char *key, Deadlock *deadlock);

/* This session, of whose deadlock nothing is known. */
void AddVictimOfUnseen(Deadlock *deadlock);

/* A session that waits for a key of this one. */
void AddWaiter(Deadlock *deadlock, const LockInstanceData &waiter);

/* Adds what the sessions of the cycle are doing now. */
void fill_sessions(Deadlock *deadlock);

/* The detail did not have to be cut. */
bool HasWholeDetail(const Deadlock &deadlock);

} // namespace cs
