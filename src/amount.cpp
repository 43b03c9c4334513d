/*
 * amount.cpp - what is needed of numeric arithmetic.
 */
#include "amount.hpp"

namespace cs {

Numeric read_amount(FunctionCallInfo fcinfo, int index)
{
	const auto check = [](bool fine, const char *problem) {
		if (!fine)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("amount must %s", problem)));
	};

	check(!PG_ARGISNULL(index), "not be null");
	Numeric amount = PG_GETARG_NUMERIC(index);

	/* NaN compares greater than every number. */
	check(!numeric_is_nan(amount), "not be NaN");
	check(!numeric_is_inf(amount), "not be infinite");
	check(DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(amount),
										   NumericGetDatum(int64_to_numeric(0)))),
		  "be greater than zero");
	return amount;
}

bool equal_amounts(Numeric a, Numeric b)
{
	return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(a), NumericGetDatum(b)));
}

bool equal_in_decimals_of(Numeric amount, Numeric a, Numeric b)
{
	const Datum difference =
		DirectFunctionCall2(numeric_sub, NumericGetDatum(a), NumericGetDatum(b));
	const Datum decimals = DirectFunctionCall1(numeric_scale, NumericGetDatum(amount));

	return DatumGetBool(
		DirectFunctionCall2(numeric_eq, DirectFunctionCall2(numeric_round, difference, decimals),
							NumericGetDatum(int64_to_numeric(0))));
}

const char *amount_text(Numeric amount)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(amount)));
}

} // namespace cs
