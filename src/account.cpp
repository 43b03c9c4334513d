/*
 * account.cpp - from the text of an id to its value and the account's key.
 */
#include "account.hpp"
#include "arguments.hpp"
#include "plain_output.hpp"
#include "printable.hpp"

namespace cs {

Account read_account(FunctionCallInfo fcinfo, int index, const char *argument, TransferPlan &plan)
{
	require_not_null(fcinfo, index, argument);

	Account account = {};
	char *given = text_to_cstring(PG_GETARG_TEXT_PP(index));

	account.id = InputFunctionCall(&plan.id_input, given, plan.id_input_parameter, -1);

	const char *id = write_plainly(&plan.id_output, account.id, plan.id_prints_alike);

	account.key = make_key(psprintf("%s:%s", plan.table, id));
	account.name = printable(id, strlen(id));
	return account;
}

} // namespace cs
