/*
 * parties.hpp - who holds a key and who waits for it, asked of the server's
 * lock table at this moment.
 */
#pragma once

#include "key.hpp"
#include "lock_mode.hpp"

namespace cs {

/* One session, or prepared transaction, that holds a lock or waits for it. */
struct Party
{
	int pid; /* 0 = a prepared transaction */
	LOCKMODE mode;
	bool granted;
	TimestampTz wait_start; /* 0 = not waiting, or not yet known */

	/* What the server shows of the session; false after it went away. */
	bool known;
	Oid role;
	NameData role_name;
	TimestampTz transaction_start; /* 0 = in no transaction */
	TimestampTz state_change;
	char application[NAMEDATALEN]; /* the server itself cuts it to this */
};

struct Parties
{
	Party *all;
	int count;
};

/* In the order of the lock table: no promise about it. */
Parties collect_parties(const KeyTag &tag);

/* May the current role see what a session of that role does, as in pg_stat_activity? */
bool may_see_activity_of(Oid role);

} // namespace cs
