/*
 * sql_views.cpp - what SQL may ask about locks on keys: who holds them and who
 * waits for them, now.
 */
#include "arguments.hpp"
#include "held.hpp"
#include "key_name.hpp"
#include "parties.hpp"
#include "printable.hpp"
#include "rows.hpp"
#include "shared_memory.hpp"

namespace cs {

namespace {

/* objsubid as pg_locks shows it: the 16 bits of field4 as a signed number. */
Datum ShownField4(const KeyTag &tag)
{
	return Int32GetDatum(static_cast<int16>(tag.field4));
}

/* The columns of cs_locks and cs_holders, in the order of their declaration. */
enum LockColumn
{
	kColumnKey,
	kColumnMode,
	kColumnGranted,
	kColumnScope,
	kColumnPid,
	kColumnDatabase,
	kColumnRole,
	kColumnApplication,
	kColumnWaitStart,
	kColumnWaitingFor,
	kColumnBlockedBy,
	kColumnClassId,
	kColumnObjId,
	kColumnObjSubId,
	kLockColumns
};

using LockRow = Row<kLockColumns>;

/* The name of a database; many rows in a row have the same. */
class DatabaseNames
{
public:
	const NameData *find(Oid database)
	{
		if (database != known)
		{
			const char *found = get_database_name(database);

			known = database;
			exists = found != nullptr;
			if (exists)
				namestrcpy(&name, found);
		}
		return exists ? &name : nullptr;
	}

private:
	Oid known = InvalidOid;
	bool exists = false;
	NameData name;
};

bool IsMine(const Party &party)
{
	return party.pid == MyProcPid && party.database == MyDatabaseId;
}

bool may_see(const Party &party)
{
	if (party.session == nullptr)
		return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	return may_see_activity_of(party.session->role);
}

/*
 * The scope in which a lock is held, as far as anybody can tell: the lock
 * manager keeps it to the session itself. What the directory knows is how the
 * key was granted last, and to whom.
 */
const char *scope_of(const Party &party, const KeyRecord *record)
{
	if (!party.granted)
		return nullptr;
	if (party.pid == 0 || party.mode == kPermit)
		return ScopeName(Scope::kTransaction);
	if (IsMine(party))
		return ScopeName(session_holds(party.tag, party.mode) > 0 ? Scope::kSession
																  : Scope::kTransaction);
	if (party.session != nullptr && party.session->active && party.session->transaction_start == 0)
		return ScopeName(Scope::kSession);
	if (record == nullptr || record->taker.pid != party.pid ||
		record->taker.scope == GrantScope::kMixed)
		return nullptr;
	return ScopeName(record->taker.scope == GrantScope::kSession ? Scope::kSession
																 : Scope::kTransaction);
}

void set_session(LockRow &row, const Session &session)
{
	if (!OidIsValid(session.role) || !may_see_activity_of(session.role))
		return;
	if (NameStr(session.role_name)[0] != '\0') /* else it was dropped */
		row.Set(kColumnRole, NameGetDatum(&session.role_name));
	row.Set(kColumnApplication, CStringGetTextDatum(session.application));
}

/* The first one who waits for a permit waits for no lock, but for any who has a permit. */
Datum who_has_permits(const Party &waiter, const Parties &parties)
{
	auto *pids = static_cast<Datum *>(palloc(static_cast<Size>(parties.count) * sizeof(Datum)));
	int count = 0;

	for (int i = 0; i < parties.count; i++)
	{
		const Party &party = parties.all[i];

		if (party.granted && party.mode == kPermit && party.tag == waiter.tag &&
			party.database == waiter.database)
			pids[count++] = Int32GetDatum(party.pid);
	}
	return PointerGetDatum(
		construct_array(pids, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

void set_wait(LockRow &row, const Party &party, const Parties &parties, TimestampTz now)
{
	if (party.wait_start != 0)
	{
		row.Set(kColumnWaitStart, TimestampTzGetDatum(party.wait_start));
		row.Set(kColumnWaitingFor, DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(now),
													   TimestampTzGetDatum(party.wait_start)));
	}
	row.Set(kColumnBlockedBy,
			party.first_in_queue ? who_has_permits(party, parties)
								 : DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(party.pid)));
}

/* What the directory knows of the key; null if nothing. */
const KeyRecord *find_record(const Party &party, KeyRecord *room)
{
	return directory != nullptr && directory->ReadByTag(party.database, party.tag, room) ? room
																						 : nullptr;
}

/* The key is named by the caller, or by the directory to those who may see it. */
void set_key(LockRow &row, const Party &party, const char *key, const KeyRecord *record)
{
	ShownName name;

	if (key == nullptr && record != nullptr && may_see(party))
	{
		WriteShownName(*record, &name);
		key = name.text;
	}
	if (key != nullptr)
		row.Set(kColumnKey, CStringGetTextDatum(key));
}

LockRow make_lock_row(const Party &party, const Parties &parties, const char *key,
					  const NameData *database, TimestampTz now)
{
	LockRow row;
	KeyRecord room;
	const KeyRecord *record = find_record(party, &room);
	const char *scope = scope_of(party, record);

	set_key(row, party, key, record);
	row.Set(kColumnMode, CStringGetTextDatum(ModeName(party.mode)));
	row.Set(kColumnGranted, BoolGetDatum(party.granted));
	if (scope != nullptr)
		row.Set(kColumnScope, CStringGetTextDatum(scope));
	if (party.pid != 0)
		row.Set(kColumnPid, Int32GetDatum(party.pid));
	if (database != nullptr)
		row.Set(kColumnDatabase, NameGetDatum(database));
	if (party.session != nullptr)
		set_session(row, *party.session);
	if (!party.granted)
		set_wait(row, party, parties, now);
	row.Set(kColumnClassId, ObjectIdGetDatum(party.tag.field2));
	row.Set(kColumnObjId, ObjectIdGetDatum(party.tag.field3));
	row.Set(kColumnObjSubId, ShownField4(party.tag));
	return row;
}

void return_lock_rows(FunctionCallInfo fcinfo, const Parties &parties, const char *key)
{
	attach_shared_memory();

	RowSet rows = RowSet::begin(fcinfo);
	DatabaseNames databases;
	const TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < parties.count; i++)
	{
		const Party &party = parties.all[i];
		LockRow row = make_lock_row(party, parties, key, databases.find(party.database), now);

		rows.add(row);
	}
	rows.finish();
}

} // namespace

} // namespace cs

extern "C" {
CS_SQL_FUNCTION(cs_key_tag);
CS_SQL_FUNCTION(cs_held_mode);
CS_SQL_FUNCTION(cs_holders);
CS_SQL_FUNCTION(cs_locks);
}

using namespace cs;

/* cs_key_tag(key) - the columns of pg_locks that identify the key's lock. */
Datum cs_key_tag(PG_FUNCTION_ARGS)
{
	const Key key = read_key(fcinfo, 0, "key");
	Datum values[] = {ObjectIdGetDatum(key.tag.field2), ObjectIdGetDatum(key.tag.field3),
					  ShownField4(key.tag)};
	bool nulls[lengthof(values)] = {};

	PG_RETURN_DATUM(make_row(fcinfo, values, nulls));
}

/* cs_held_mode(key) - the strongest mode this session holds, in either scope, or null. */
Datum cs_held_mode(PG_FUNCTION_ARGS)
{
	require_lockable();
	const LOCKMODE mode = StrongestHeldMode(read_key(fcinfo, 0, "key").tag);

	if (mode == NoLock)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(ModeName(mode)));
}

/* cs_holders(key) - a row for each session that holds the key or waits for it, now. */
Datum cs_holders(PG_FUNCTION_ARGS)
{
	const Key key = read_key(fcinfo, 0, "key");

	return_lock_rows(fcinfo, collect_parties(key.tag), printable(key.bytes, key.size));
	PG_RETURN_VOID();
}

/* cs_locks() - the same for all keys of the cluster. */
Datum cs_locks(PG_FUNCTION_ARGS)
{
	return_lock_rows(fcinfo, collect_all_parties(), nullptr);
	PG_RETURN_VOID();
}
