/*
 * sql_views.cpp - what SQL may ask about keys and locks without changing them.
 */
#include "arguments.hpp"
#include "held.hpp"
#include "parties.hpp"

namespace cs {

namespace {

/* objsubid as pg_locks shows it: the 16 bits of field4 as a signed number. */
Datum ShownField4(const KeyTag &tag)
{
	return Int32GetDatum(static_cast<int16>(tag.field4));
}

/* The columns of cs_holders, in the order of its declaration. */
enum HolderColumn
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
	kHolderColumns
};

/* What cs_holders keeps from row to row. */
struct HolderScan
{
	Key key;
	Datum key_text;
	Parties parties;
	NameData database;
	TimestampTz now;
};

/*
 * The scope in which a lock is held, as far as the lock table and the status
 * of the session tell: null where it could be either.
 */
const char *scope_of(const Party &party, const KeyTag &tag)
{
	if (!party.granted)
		return nullptr;
	if (party.pid == 0)
		return ScopeName(Scope::kTransaction);
	if (party.pid == MyProcPid)
		return ScopeName(session_holds(tag, party.mode) > 0 ? Scope::kSession
															: Scope::kTransaction);
	if (party.known && party.transaction_start == 0)
		return ScopeName(Scope::kSession);
	return nullptr;
}

HeapTuple make_holder_row(const HolderScan &scan, const Party &party, TupleDesc row_type)
{
	Datum values[kHolderColumns] = {};
	bool nulls[kHolderColumns];
	const auto set = [&values, &nulls](HolderColumn column, Datum value) {
		values[column] = value;
		nulls[column] = false;
	};
	const char *scope = scope_of(party, scan.key.tag);

	memset(nulls, true, sizeof(nulls));
	set(kColumnKey, scan.key_text);
	set(kColumnMode, CStringGetTextDatum(ModeName(party.mode)));
	set(kColumnGranted, BoolGetDatum(party.granted));
	if (scope != nullptr)
		set(kColumnScope, CStringGetTextDatum(scope));
	set(kColumnDatabase, NameGetDatum(&scan.database));
	if (party.pid != 0)
		set(kColumnPid, Int32GetDatum(party.pid));
	if (party.known && OidIsValid(party.role) && may_see_activity_of(party.role))
	{
		set(kColumnRole, NameGetDatum(&party.role_name));
		set(kColumnApplication, CStringGetTextDatum(party.application));
	}
	if (!party.granted)
	{
		if (party.wait_start != 0)
		{
			set(kColumnWaitStart, TimestampTzGetDatum(party.wait_start));
			set(kColumnWaitingFor, DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(scan.now),
													   TimestampTzGetDatum(party.wait_start)));
		}
		set(kColumnBlockedBy, DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(party.pid)));
	}
	set(kColumnClassId, ObjectIdGetDatum(scan.key.tag.field2));
	set(kColumnObjId, ObjectIdGetDatum(scan.key.tag.field3));
	set(kColumnObjSubId, ShownField4(scan.key.tag));
	return heap_form_tuple(row_type, values, nulls);
}

/* What does not change from row to row; lives as long as the scan. */
HolderScan *start_holder_scan(FunctionCallInfo fcinfo, FuncCallContext *context)
{
	MemoryContext caller = MemoryContextSwitchTo(context->multi_call_memory_ctx);
	auto *scan = static_cast<HolderScan *>(palloc0(sizeof(HolderScan)));

	scan->key = read_key(fcinfo, 0, "key");
	scan->key_text = PointerGetDatum(
		cstring_to_text_with_len(scan->key.bytes, static_cast<int>(scan->key.size)));
	scan->parties = collect_parties(scan->key.tag);
	scan->now = GetCurrentTimestamp();
	namestrcpy(&scan->database, get_database_name(MyDatabaseId));
	if (get_call_result_type(fcinfo, nullptr, &context->tuple_desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	context->tuple_desc = BlessTupleDesc(context->tuple_desc);
	MemoryContextSwitchTo(caller);
	return scan;
}

} // namespace

} // namespace cs

extern "C" {
CS_SQL_FUNCTION(cs_key_tag);
CS_SQL_FUNCTION(cs_held_mode);
CS_SQL_FUNCTION(cs_holders);
}

using namespace cs;

/* cs_key_tag(key) - the columns of pg_locks that identify the key's lock. */
Datum cs_key_tag(PG_FUNCTION_ARGS)
{
	const Key key = read_key(fcinfo, 0, "key");
	Datum values[] = {ObjectIdGetDatum(key.tag.field2), ObjectIdGetDatum(key.tag.field3),
					  ShownField4(key.tag)};
	bool nulls[lengthof(values)] = {};
	TupleDesc row_type;

	if (get_call_result_type(fcinfo, nullptr, &row_type) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(row_type), values, nulls)));
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
	if (SRF_IS_FIRSTCALL())
	{
		FuncCallContext *context = SRF_FIRSTCALL_INIT();

		context->user_fctx = start_holder_scan(fcinfo, context);
	}

	FuncCallContext *context = SRF_PERCALL_SETUP();
	const auto *scan = static_cast<const HolderScan *>(context->user_fctx);

	if (context->call_cntr >= static_cast<uint64>(scan->parties.count))
		SRF_RETURN_DONE(context);

	const Party &party = scan->parties.all[context->call_cntr];

	SRF_RETURN_NEXT(context, HeapTupleGetDatum(make_holder_row(*scan, party, context->tuple_desc)));
}
