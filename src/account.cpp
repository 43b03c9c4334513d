/*
 * account.cpp - from the text of an id to its value and the account's key.
 */
#include "account.hpp"
#include "arguments.hpp"
#include "printable.hpp"

namespace cs {

namespace {

/*
 * The id as its type prints it. A key must not depend on how a session likes
 * its dates printed, so for types that may care the settings are fixed.
 */
const char *write_id(TransferPlan &plan, Datum id)
{
	static const char *const settings[][2] = {{"bytea_output", "hex"},
											  {"datestyle", "ISO"},
											  {"extra_float_digits", "1"},
											  {"intervalstyle", "postgres"},
											  {"timezone", "UTC"}};

	if (plan.id_prints_alike)
		return OutputFunctionCall(&plan.id_output, id);

	const int level = NewGUCNestLevel();

	for (const auto &setting : settings)
		set_setting_for_now(setting[0], setting[1]);

	const char *printed = OutputFunctionCall(&plan.id_output, id);

	AtEOXact_GUC(true, level);
	return printed;
}

} // namespace

Account read_account(FunctionCallInfo fcinfo, int index, const char *argument, TransferPlan &plan)
{
	require_not_null(fcinfo, index, argument);

	Account account = {};
	char *given = text_to_cstring(PG_GETARG_TEXT_PP(index));

	account.id = InputFunctionCall(&plan.id_input, given, plan.id_input_parameter, -1);

	const char *id = write_id(plan, account.id);

	account.key = make_key(psprintf("%s:%s", plan.table, id));
	account.name = printable(id, strlen(id));
	return account;
}

} // namespace cs
