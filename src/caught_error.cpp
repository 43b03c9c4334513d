/*
 * caught_error.cpp - the copy of an error may fail as well.
 */
#include "caught_error.hpp"

namespace cs {

namespace {

/* Null if there is no memory for it. */
ErrorData *CopyIfPossible()
{
	ErrorData *volatile copy = nullptr;

	PG_TRY();
	{
		copy = CopyErrorData();
	}
	PG_CATCH();
	{
	}
	PG_END_TRY();
	return copy;
}

} // namespace

ErrorData *take_caught_error(MemoryContext context, bool subtransaction)
{
	MemoryContextSwitchTo(context);
	ErrorData *error = CopyIfPossible();

	MemoryContextSwitchTo(context);
	FlushErrorState();
	if (error != nullptr)
		return error;
	if (subtransaction)
		RollbackAndReleaseCurrentSubTransaction();
	ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
					errdetail("There was none for the report of an error.")));
}

} // namespace cs
