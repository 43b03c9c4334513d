/*
 * deadlock_ring.hpp - the last deadlocks, as they lie in shared memory.
 *
 * Deadlocks are rare and slow by nature: one LWLock guards the ring. Text is
 * cut to its field at a character boundary.
 */
#pragma once

#include "key.hpp"
#include "postgres.hpp"

namespace cs {

/* A session of the cycle, as it was when the deadlock was found. */
struct DeadlockSession
{
	int pid;
	Oid role; /* invalid if the session was gone already */
	char application[NAMEDATALEN];
	char query[512];
};

inline constexpr int kMostDeadlockSessions = 8;

struct Deadlock
{
	TimestampTz at;
	int encoding;
	LOCKMODE mode;         /* in which the key was waited for */
	bool victim_waited;    /* for that key; else somebody else of the cycle did */
	int sessions;          /* stored below, the victim first */
	int sessions_in_cycle; /* known, also if there is no room for all */
	DeadlockSession session[kMostDeadlockSessions];
	char key[kMaxKeyBytes + 1]; /* empty if its name is not known */
	char detail[2048];          /* who waits for what, a line each */
};

class DeadlockRing
{
public:
	static Size Bytes(int capacity);
	static DeadlockRing *Create(void *memory, int capacity);

	/* Gives the lock its name; once in every process. */
	void register_lock();

	void Add(const Deadlock &deadlock);

	/* How many there have been; they are numbered from 1. */
	uint64 Count();

	/* The deadlock of that number; false if it is no longer there. */
	bool Get(uint64 number, Deadlock *out);

private:
	LWLock lock;
	int capacity;
	uint64 recorded;
	Deadlock entries[FLEXIBLE_ARRAY_MEMBER];
};

} // namespace cs
