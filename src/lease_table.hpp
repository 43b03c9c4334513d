/*
 * lease_table.hpp - the rows of leases: read, written, removed.
 *
 * The table is written directly and not by SQL: that works in every isolation
 * level, needs no rights on it, and no search path matters. Who writes a row holds
 * the lock of its lease (lease.cpp), so no two sessions ever write one at once.
 */
#pragma once

#include "key.hpp"
#include "postgres.hpp"

namespace cs {

/* What decides about a lease. */
struct LeaseRow
{
	HeapTuple tuple; /* null: there is no row */
	int64 token;
	TimestampTz expires_at;
	bool released;

	bool IsFree(TimestampTz now) const
	{
		return tuple == nullptr || released || expires_at <= now;
	}

	bool IsHeldBy(int64 its_token, TimestampTz now) const
	{
		return !IsFree(now) && token == its_token;
	}
};

/* What a session asks for; the role is the current one. */
struct NewLease
{
	int64 token;
	TimestampTz granted_at;
	TimestampTz expires_at;
	NullableDatum owner;
	NullableDatum payload;
};

/*
 * The table in the schema of the function. 42P01 if the extension was dropped meanwhile,
 * 42P17 if the table is that of another version.
 */
Relation open_lease_table(FunctionCallInfo fcinfo, LOCKMODE mode);

/*
 * The row as it was committed last, or was written by this transaction, whatever the
 * isolation level; and SERIALIZABLE sees no dependency, since locks make the order.
 * Without a lock that keeps others from writing it, a row that one of them writes at
 * this moment may be missed.
 */
LeaseRow look_at_lease(Relation table, const Key &key);

/* The same, and never missed; a row that does not exist makes a dependency. */
LeaseRow read_lease(Relation table, const Key &key);

/*
 * The token for whoever gets the lease next: above all that were ever given out
 * for the key. Its high part has the timeline of the server, which every promotion
 * raises: so it is above those, too, that a standby had not received.
 *
 * A new cluster begins with timeline 1, but pg_upgrade and a restore bring tokens
 * along: there the timeline is added to the highest part that they have. That is
 * entered before the first grant, by one who holds the lock of the empty key.
 */
int64 next_token(Relation table, const LeaseRow &row);
bool is_epoch_known(Relation table);
void begin_epoch(Relation table);

/* No lease has this key. */
inline const Key kNoKey = {"", 0, {0, 0, 0}, 0};

void write_lease(Relation table, const Key &key, const LeaseRow &row, const NewLease &lease);
void write_expiry(Relation table, const LeaseRow &row, TimestampTz expires_at, bool released);

/* What its token was stays known to next_token. */
void remove_lease(Relation table, const LeaseRow &row);

/* The keys, text, of up to `most` leases that expired or were released before that time. */
List *keys_expired_before(Relation table, TimestampTz time, int64 most);

} // namespace cs
