/*
 * rows.cpp - materialized results, the same way on all versions.
 */
#include "rows.hpp"

namespace cs {

namespace {

TupleDesc row_type_of(FunctionCallInfo fcinfo)
{
	TupleDesc type;

	if (get_call_result_type(fcinfo, nullptr, &type) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return type;
}

} // namespace

RowSet RowSet::begin(FunctionCallInfo fcinfo)
{
	auto *result = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);

	if (result == nullptr || !IsA(result, ReturnSetInfo) ||
		(result->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("set-valued function called in context that cannot accept a set")));

	RowSet rows;

	rows.caller = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	rows.type = row_type_of(fcinfo);
	rows.store = tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0, false,
									   work_mem);
	result->returnMode = SFRM_Materialize;
	result->setResult = rows.store;
	result->setDesc = rows.type;
	rows.row_context = AllocSetContextCreate(rows.caller, "row of a set", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(rows.row_context);
	return rows;
}

void RowSet::finish()
{
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(row_context);
}

Datum make_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(row_type_of(fcinfo)), values, nulls));
}

Datum make_row_of_kept_type(TupleDesc *type, FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	if (*type == nullptr)
	{
		TupleDesc found = row_type_of(fcinfo);
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		*type = BlessTupleDesc(CreateTupleDescCopy(found));
		MemoryContextSwitchTo(caller);
	}
	return HeapTupleGetDatum(heap_form_tuple(*type, values, nulls));
}

} // namespace cs
