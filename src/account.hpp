/*
 * account.hpp - an account of cs_transfer: its id and its key.
 */
#pragma once

#include "key.hpp"
#include "transfer_plan.hpp"

namespace cs {

struct Account
{
	Datum id;
	Key key;          /* schema.table:id */
	const char *name; /* the id, printable */
	bool found;
	Numeric balance; /* null only if a trigger stored that */
};

/*
 * Reads the id in the type of its column: '042' and '42' are one integer.
 * NULL: 22004, and what the type says of a text that is none of its values.
 */
Account read_account(FunctionCallInfo fcinfo, int index, const char *argument, TransferPlan &plan);

} // namespace cs
