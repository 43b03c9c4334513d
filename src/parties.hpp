/*
 * parties.hpp - who holds keys and who waits for them, asked of the server's
 * lock table at this moment.
 */
#pragma once

#include "key.hpp"
#include "lock_mode.hpp"

namespace cs {

/* What the server shows of a session. */
struct Session
{
	int pid;
	Oid role;
	NameData role_name;
	bool active;                   /* its state and times are known: track_activities is on */
	TimestampTz transaction_start; /* 0 = in no transaction */
	TimestampTz state_change;
	char application[NAMEDATALEN]; /* the server itself cuts it to this */
};

/* One session, or prepared transaction, that holds a lock or a permit, or waits for it. */
struct Party
{
	Oid database;
	KeyTag tag;
	int pid; /* 0 = a prepared transaction */
	LOCKMODE mode;
	bool granted;
	bool first_in_queue;    /* of those who wait for a permit: waits for any who has one */
	TimestampTz wait_start; /* 0 = not waiting, or not yet known */
	const Session *session; /* null for a prepared transaction, or if it went away */
};

struct Parties
{
	Party *all;
	int count;
};

/* In the order of the lock table: no promise about it. */
Parties collect_parties(const KeyTag &tag);

/* The same for all keys of all databases. */
Parties collect_all_parties();

/* May the current role see what a session of that role does, as in pg_stat_activity? */
bool may_see_activity_of(Oid role);

} // namespace cs
