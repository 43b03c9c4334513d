/*
 * rows.hpp - results of several rows and columns.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/* A row in the making: all columns are null until they are set. */
template <int kColumns> class Row
{
public:
	Row()
	{
		for (bool &null : nulls)
			null = true;
	}

	void Set(int column, Datum value)
	{
		values[column] = value;
		nulls[column] = false;
	}

	Datum values[kColumns] = {};
	bool nulls[kColumns];
};

/*
 * The rows of a set-returning function; they live as long as the query. From
 * begin to finish the memory context is one that is emptied after each row.
 */
class RowSet
{
public:
	/* Raises if the function is called where no set is accepted. */
	static RowSet begin(FunctionCallInfo fcinfo);

	template <int kColumns> void add(Row<kColumns> &row)
	{
		Assert(type->natts == kColumns);
		tuplestore_putvalues(store, type, row.values, row.nulls);
		MemoryContextReset(row_context);
		CHECK_FOR_INTERRUPTS();
	}

	void finish();

private:
	Tuplestorestate *store;
	TupleDesc type;
	MemoryContext row_context;
	MemoryContext caller;
};

/* The only row of a function that returns a composite. */
Datum make_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls);

/* The same with a type that is found once: *type, null at first, is kept for the session. */
Datum make_row_of_kept_type(TupleDesc *type, FunctionCallInfo fcinfo, Datum *values, bool *nulls);

} // namespace cs
