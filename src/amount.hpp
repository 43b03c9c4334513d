/*
 * amount.hpp - amounts of money, as numeric.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/* An amount that can be moved; 22023 if it is null, NaN, infinite, zero or negative. */
Numeric read_amount(FunctionCallInfo fcinfo, int index);

bool equal_amounts(Numeric a, Numeric b);

/*
 * Are the two equal in as many decimals as the amount is written with? A float
 * has more of them than it can keep.
 */
bool equal_in_decimals_of(Numeric amount, Numeric a, Numeric b);

const char *amount_text(Numeric amount);

} // namespace cs
