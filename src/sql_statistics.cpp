/*
 * sql_statistics.cpp - what SQL may ask about the past: statistics of keys, and
 * deadlocks.
 */
#include "deadlock_ring.hpp"
#include "key_name.hpp"
#include "lock_mode.hpp"
#include "parties.hpp"
#include "printable.hpp"
#include "rows.hpp"
#include "shared_memory.hpp"

namespace cs {

namespace {

/* The columns that cs_stat_keys and cs_stat have in common, in their order. */
enum StatisticsColumn
{
	kColumnAcquired,
	kColumnWaited,
	kColumnTimedOut,
	kColumnDeadlocked,
	kColumnWaitTotal,
	kColumnWaitMax,
	kColumnHistogram,
	kStatisticsColumns
};

/* The columns of cs_stat_keys: the key, the counts, and when. */
constexpr int kColumnLastAcquired = 1 + kStatisticsColumns;
constexpr int kKeyColumns = kColumnLastAcquired + 1;

/* The columns of cs_stat: the counts, and what the directory is like, and cs_run. */
enum TotalsColumn
{
	kColumnDirectorySize = kStatisticsColumns,
	kColumnDirectoryUsed,
	kColumnDirectoryBytes,
	kColumnEvicted,
	kColumnUnnamed,
	kColumnCollisions,
	kColumnOrders,
	kColumnOrdersLost,
	kColumnRuns,
	kColumnRunRetries,
	kColumnRunFailures,
	kColumnReset,
	kTotalsColumns
};

/* The columns of cs_deadlocks. */
enum DeadlockColumn
{
	kColumnAt,
	kColumnDeadlockKey,
	kColumnDeadlockMode,
	kColumnDeadlockPid,
	kColumnDeadlockRole,
	kColumnDeadlockApplication,
	kColumnDetail,
	kColumnQuery,
	kDeadlockColumns
};

Datum CountDatum(uint64 count)
{
	return Int64GetDatum(static_cast<int64>(count));
}

Datum make_histogram(const KeyStatistics &statistics)
{
	Datum buckets[kWaitBuckets];

	for (uint32 i = 0; i < kWaitBuckets; i++)
		buckets[i] = CountDatum(statistics.histogram[i]);
	return PointerGetDatum(construct_array(buckets, kWaitBuckets, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

template <int kColumns>
void set_statistics(Row<kColumns> &row, int first, const KeyStatistics &statistics)
{
	row.Set(first + kColumnAcquired, CountDatum(statistics.acquired));
	row.Set(first + kColumnWaited, CountDatum(statistics.Waited()));
	row.Set(first + kColumnTimedOut, CountDatum(statistics.timed_out));
	row.Set(first + kColumnDeadlocked, CountDatum(statistics.deadlocked));
	row.Set(first + kColumnWaitTotal,
			Float8GetDatum(static_cast<double>(statistics.wait_us_total) / 1000));
	row.Set(first + kColumnWaitMax, Float8GetDatum(statistics.wait_ms_max));
	row.Set(first + kColumnHistogram, make_histogram(statistics));
}

void set_orders(Row<kTotalsColumns> &row)
{
	const OrderGraph *graph = lock_order->Lock(LW_SHARED);

	row.Set(kColumnOrders, CountDatum(graph->Edges()));
	row.Set(kColumnOrdersLost, CountDatum(graph->Lost()));
	lock_order->Unlock();
}

/* What of a deadlock the caller may see. */
struct DeadlockSight
{
	bool victim; /* what the victim did */
	bool all;    /* what everybody in the cycle did */
};

DeadlockSight sight_of(const Deadlock &deadlock)
{
	DeadlockSight sight = {false, deadlock.sessions_in_cycle == deadlock.sessions};

	for (int i = 0; i < deadlock.sessions; i++)
	{
		const bool seen = may_see_activity_of(deadlock.session[i].role);

		sight.all &= seen;
		if (i == 0)
			sight.victim = seen;
	}
	sight.all |= has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	return sight;
}

/*
 * Text that a session of the deadlock's database wrote, as this one may see
 * it: in another encoding, all that is not ASCII is escaped.
 */
const char *shown_text(const Deadlock &deadlock, const char *text)
{
	StringInfoData out;

	if (EncodingFor(deadlock.encoding) != Encoding::kForeign)
		return text;
	initStringInfo(&out);
	for (; *text != '\0'; text++)
		if (IS_HIGHBIT_SET(*text))
			appendStringInfo(&out, "\\x%02x", static_cast<unsigned char>(*text));
		else
			appendStringInfoChar(&out, *text);
	return out.data;
}

/* Who waited for what, and then what each of them was doing. */
Datum make_detail(const Deadlock &deadlock)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, shown_text(deadlock, deadlock.detail));
	for (int i = 0; i < deadlock.sessions; i++)
	{
		const DeadlockSession &session = deadlock.session[i];
		const char *role =
			OidIsValid(session.role) ? GetUserNameFromId(session.role, true) : nullptr;

		if (!OidIsValid(session.role)) /* the session was gone */
			continue;
		appendStringInfo(&out, "\nProcess %d (", session.pid);
		if (role != nullptr) /* else it was dropped */
			appendStringInfo(&out, "role \"%s\", ", role);
		appendStringInfo(&out, "application \"%s\"): %s", session.application,
						 shown_text(deadlock, session.query));
	}
	return CStringGetTextDatum(out.data);
}

void set_victim(Row<kDeadlockColumns> &row, const Deadlock &deadlock)
{
	const DeadlockSession &victim = deadlock.session[0];
	const char *role = GetUserNameFromId(victim.role, true);

	if (role != nullptr)
		row.Set(kColumnDeadlockRole, DirectFunctionCall1(namein, CStringGetDatum(role)));
	row.Set(kColumnDeadlockApplication, CStringGetTextDatum(victim.application));
	row.Set(kColumnQuery, CStringGetTextDatum(shown_text(deadlock, victim.query)));
}

} // namespace

} // namespace cs

extern "C" {
CS_SQL_FUNCTION(cs_stat_keys);
CS_SQL_FUNCTION(cs_stat);
CS_SQL_FUNCTION(cs_stat_reset);
CS_SQL_FUNCTION(cs_deadlocks);
}

using namespace cs;

/* cs_stat_keys() - the statistics of each key of this database that has a place. */
Datum cs_stat_keys(PG_FUNCTION_ARGS)
{
	require_shared_memory();
	RowSet rows = RowSet::begin(fcinfo);
	const bool may_see_keys = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	KeyRecord record;

	for (uint32 i = 0; i < directory->Entries(); i++)
	{
		Row<kKeyColumns> row;
		ShownName name;

		if (i % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
		if (!directory->Read(i, &record) || record.key.database != MyDatabaseId)
			continue;
		if (may_see_keys)
		{
			WriteShownName(record, &name);
			row.Set(0, CStringGetTextDatum(name.text));
		}
		set_statistics(row, 1, record.statistics);
		if (record.last_acquired != 0)
			row.Set(kColumnLastAcquired, TimestampTzGetDatum(record.last_acquired));
		rows.add(row);
	}
	rows.finish();
	PG_RETURN_VOID();
}

/* cs_stat() - the statistics of all keys of the cluster, of the directory and of cs_run. */
Datum cs_stat(PG_FUNCTION_ARGS)
{
	require_shared_memory();
	const DirectoryTotals totals = directory->Totals([] {
		CHECK_FOR_INTERRUPTS();
	});
	Row<kTotalsColumns> row;

	set_statistics(row, 0, totals.statistics);
	row.Set(kColumnDirectorySize, CountDatum(directory->Entries()));
	row.Set(kColumnDirectoryUsed, CountDatum(totals.used));
	row.Set(kColumnDirectoryBytes, CountDatum(Directory::Bytes(directory->Entries())));
	row.Set(kColumnEvicted, CountDatum(totals.evicted));
	row.Set(kColumnUnnamed, CountDatum(totals.unnamed));
	row.Set(kColumnCollisions, CountDatum(totals.collisions));
	set_orders(row);
	row.Set(kColumnRuns, CountDatum(run_counters->Read(RunCount::kRun)));
	row.Set(kColumnRunRetries, CountDatum(run_counters->Read(RunCount::kRetry)));
	row.Set(kColumnRunFailures, CountDatum(run_counters->Read(RunCount::kFailure)));
	row.Set(kColumnReset, TimestampTzGetDatum(statistics_reset_at()));
	PG_RETURN_DATUM(make_row(fcinfo, row.values, row.nulls));
}

/* cs_stat_reset() - all counts to zero; names and deadlocks stay. */
Datum cs_stat_reset([[maybe_unused]] PG_FUNCTION_ARGS)
{
	require_shared_memory();
	reset_statistics();
	PG_RETURN_VOID();
}

/* cs_deadlocks() - the last deadlocks in which a key took part, the last one first. */
Datum cs_deadlocks(PG_FUNCTION_ARGS)
{
	require_shared_memory();
	RowSet rows = RowSet::begin(fcinfo);
	Deadlock deadlock;

	for (uint64 number = deadlock_ring->Count(); deadlock_ring->Get(number, &deadlock); number--)
	{
		const DeadlockSight sight = sight_of(deadlock);
		Row<kDeadlockColumns> row;

		row.Set(kColumnAt, TimestampTzGetDatum(deadlock.at));
		row.Set(kColumnDeadlockMode, CStringGetTextDatum(ModeName(deadlock.mode)));
		row.Set(kColumnDeadlockPid, Int32GetDatum(deadlock.session[0].pid));
		if (deadlock.key[0] != '\0' && (sight.all || (sight.victim && deadlock.victim_waited)))
			row.Set(kColumnDeadlockKey, CStringGetTextDatum(shown_text(deadlock, deadlock.key)));
		if (sight.victim)
			set_victim(row, deadlock);
		if (sight.all)
			row.Set(kColumnDetail, make_detail(deadlock));
		rows.add(row);
	}
	rows.finish();
	PG_RETURN_VOID();
}
