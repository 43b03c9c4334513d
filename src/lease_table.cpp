/*
 * lease_table.cpp - one row for each key that ever had a lease, and one, with an
 * empty key, for the highest token of those that were removed and for what the
 * timelines of this server are added to. Its owner is a text of two numbers.
 */
#include "lease_table.hpp"

namespace cs {

namespace {

constexpr char kTableName[] = "cs_lease_table";

/* The columns, as the install script declares them. */
enum Column
{
	kKey = 1,
	kToken,
	kOwner,
	kRole,
	kGrantedAt,
	kExpiresAt,
	kReleased,
	kPayload,
	kColumns = kPayload
};

/*
 * Bits of a token below the timeline: 10^12 grants of a key on one timeline.
 * Up to timeline 8191 a token is exact in a double, which is all JavaScript has.
 */
constexpr int kCounterBits = 40;

struct Values
{
	Datum value[kColumns] = {};
	bool null[kColumns] = {};
	bool replace[kColumns] = {};

	void Set(Column column, NullableDatum datum)
	{
		value[column - 1] = datum.value;
		null[column - 1] = datum.isnull;
		replace[column - 1] = true;
	}

	void Set(Column column, Datum datum)
	{
		Set(column, NullableDatum{datum, false});
	}
};

Datum KeyDatum(const Key &key)
{
	return PointerGetDatum(cstring_to_text_with_len(key.bytes, static_cast<int>(key.size)));
}

Datum column_of(HeapTuple tuple, Relation table, Column column)
{
	bool is_null;

	return heap_getattr(tuple, column, RelationGetDescr(table), &is_null);
}

LeaseRow row_of(HeapTuple tuple, Relation table)
{
	return {heap_copytuple(tuple), DatumGetInt64(column_of(tuple, table, kToken)),
			DatumGetTimestampTz(column_of(tuple, table, kExpiresAt)),
			DatumGetBool(column_of(tuple, table, kReleased))};
}

LeaseRow read_row(Relation table, const Key &key, Snapshot snapshot)
{
	LeaseRow row = {};
	ScanKeyData search;

	ScanKeyInit(&search, kKey, BTEqualStrategyNumber, F_TEXTEQ, KeyDatum(key));

	SysScanDesc scan =
		systable_beginscan(table, primary_key_index(table), true, snapshot, 1, &search);
	HeapTuple tuple = systable_getnext(scan);

	if (HeapTupleIsValid(tuple))
		row = row_of(tuple, table);
	systable_endscan(scan);
	return row;
}

/* A new row, or the next version of it; visible to what this transaction does next. */
void write(Relation table, const LeaseRow &row, Values &values)
{
	if (row.tuple == nullptr)
	{
		HeapTuple tuple = heap_form_tuple(RelationGetDescr(table), values.value, values.null);

		CatalogTupleInsert(table, tuple);
	}
	else
	{
		HeapTuple tuple = heap_modify_tuple(row.tuple, RelationGetDescr(table), values.value,
											values.null, values.replace);

		CatalogTupleUpdate(table, &row.tuple->t_self, tuple);
	}
	CommandCounterIncrement();
}

/* What tokens of this server begin with: its timeline, added to this. */
struct Epoch
{
	bool known;
	int64 base;
};

Epoch epoch_of(Relation table, const LeaseRow &row)
{
	bool is_null = true;
	uint64 system;
	long long base;
	const Datum owner = row.tuple == nullptr
							? 0
							: heap_getattr(row.tuple, kOwner, RelationGetDescr(table), &is_null);

	if (is_null || sscanf(TextDatumGetCString(owner), UINT64_FORMAT " %lld", &system, &base) != 2 ||
		system != GetSystemIdentifier())
		return {false, 0};
	return {true, base};
}

/* The row of the empty key: a new one, or a change of the columns that are set. */
void write_past(Relation table, const LeaseRow &row, Values &values)
{
	if (row.tuple == nullptr)
	{
		values.Set(kKey, KeyDatum(kNoKey));
		values.Set(kRole, DirectFunctionCall1(namein, CStringGetDatum("")));
		values.Set(kGrantedAt, TimestampTzGetDatum(DT_NOBEGIN));
		values.Set(kExpiresAt, TimestampTzGetDatum(DT_NOEND));
		values.Set(kReleased, BoolGetDatum(true));
		values.Set(kPayload, NullableDatum{0, true});
		if (!values.replace[kOwner - 1])
			values.Set(kOwner, NullableDatum{0, true});
	}
	write(table, row, values);
}

/* A token that was given out for a row that is removed now. */
void remember_token(Relation table, int64 token)
{
	const LeaseRow row = look_at_lease(table, kNoKey);
	Values values;

	if (row.tuple != nullptr && row.token >= token)
		return;
	values.Set(kToken, Int64GetDatum(token));
	write_past(table, row, values);
}

/* Nobody is granted a lease meanwhile. */
int64 highest_token(Relation table)
{
	int64 highest = 0;
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan(table, InvalidOid, false, snapshot, 0, nullptr);

	while (HeapTuple tuple = systable_getnext(scan))
	{
		CHECK_FOR_INTERRUPTS();
		highest = Max(highest, DatumGetInt64(column_of(tuple, table, kToken)));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	return highest;
}

} // namespace

Relation open_lease_table(FunctionCallInfo fcinfo, LOCKMODE mode)
{
	const Oid schema = get_func_namespace(fcinfo->flinfo->fn_oid);
	const Oid table = OidIsValid(schema) ? get_relname_relid(kTableName, schema) : InvalidOid;
	Relation relation = OidIsValid(table) ? try_relation_open(table, mode) : nullptr;

	if (relation == nullptr)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the table of leases does not exist"),
				 errdetail("The extension concurrency_safe was dropped.")));
	if (RelationGetNumberOfAttributes(relation) != kColumns)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("the table of leases does not belong to this version of the library"),
				 errhint("Update the extension with ALTER EXTENSION, or reconnect.")));
	return relation;
}

LeaseRow look_at_lease(Relation table, const Key &key)
{
	return read_row(table, key, SnapshotSelf);
}

/*
 * The scan may have passed the place of the new row before that was committed, and
 * come to the old one after: a snapshot shows one of them.
 */
LeaseRow read_lease(Relation table, const Key &key)
{
	const LeaseRow row = look_at_lease(table, key);

	if (row.tuple != nullptr)
		return row;

	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	const LeaseRow other = read_row(table, key, snapshot);

	UnregisterSnapshot(snapshot);
	return other;
}

bool is_epoch_known(Relation table)
{
	return epoch_of(table, look_at_lease(table, kNoKey)).known;
}

void begin_epoch(Relation table)
{
	const LeaseRow row = look_at_lease(table, kNoKey);
	const int64 base = highest_token(table) >> kCounterBits;
	Values values;

	values.Set(kToken, Int64GetDatum(row.token));
	values.Set(kOwner, CStringGetTextDatum(
						   psprintf(UINT64_FORMAT " " INT64_FORMAT, GetSystemIdentifier(), base)));
	write_past(table, row, values);
}

int64 next_token(Relation table, const LeaseRow &row)
{
	const LeaseRow past = read_lease(table, kNoKey);
	const int64 last = row.tuple != nullptr ? row.token : past.token;
	const int64 epoch = epoch_of(table, past).base + static_cast<int64>(CurrentTimeline());

	return Max(last, epoch << kCounterBits) + 1;
}

void write_lease(Relation table, const Key &key, const LeaseRow &row, const NewLease &lease)
{
	const char *role = GetUserNameFromId(GetUserId(), false);
	Values values;

	values.Set(kKey, KeyDatum(key));
	values.Set(kToken, Int64GetDatum(lease.token));
	values.Set(kOwner, lease.owner);
	values.Set(kRole, DirectFunctionCall1(namein, CStringGetDatum(role)));
	values.Set(kGrantedAt, TimestampTzGetDatum(lease.granted_at));
	values.Set(kExpiresAt, TimestampTzGetDatum(lease.expires_at));
	values.Set(kReleased, BoolGetDatum(false));
	values.Set(kPayload, lease.payload);
	write(table, row, values);
}

void write_expiry(Relation table, const LeaseRow &row, TimestampTz expires_at, bool released)
{
	Values values;

	values.Set(kExpiresAt, TimestampTzGetDatum(expires_at));
	values.Set(kReleased, BoolGetDatum(released));
	write(table, row, values);
}

void remove_lease(Relation table, const LeaseRow &row)
{
	remember_token(table, row.token);
	CatalogTupleDelete(table, &row.tuple->t_self);
	CommandCounterIncrement();
}

List *keys_expired_before(Relation table, TimestampTz time, int64 most)
{
	List *keys = NIL;
	SysScanDesc scan = systable_beginscan(table, InvalidOid, false, SnapshotSelf, 0, nullptr);

	while (list_length(keys) < most)
	{
		HeapTuple tuple = systable_getnext(scan);

		if (!HeapTupleIsValid(tuple))
			break;
		CHECK_FOR_INTERRUPTS();
		if (DatumGetTimestampTz(column_of(tuple, table, kExpiresAt)) < time)
			keys = lappend(keys, DatumGetTextPCopy(column_of(tuple, table, kKey)));
	}
	systable_endscan(scan);
	return keys;
}

} // namespace cs
