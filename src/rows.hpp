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

/* The rows of a set-returning function; they live as long as the query. */
class RowSet
{
public:
	/* Raises if the function is called where no set is accepted. */
	static RowSet begin(FunctionCallInfo fcinfo);

	template <int kColumns> void add(Row<kColumns> &row)
	{
		Assert(type->natts == kColumns);
		tuplestore_putvalues(store, type, row.values, row.nulls);
	}

private:
	Tuplestorestate *store;
	TupleDesc type;
};

/* The only row of a function that returns a composite. */
Datum make_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls);

} // namespace cs
