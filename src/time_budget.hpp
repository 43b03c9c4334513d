/*
 * time_budget.hpp - the one limit on the waits of a whole call.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/*
 * The clock is read for the first time when a wait is about to begin: a call
 * that never waits does not pay for it.
 */
class TimeBudget
{
  public:
	/* -1 = no limit */
	explicit TimeBudget(int limit_in_ms) : limit_ms(limit_in_ms)
	{
	}

	/* Milliseconds for the next wait: 0 = nothing is left, -1 = no limit. */
	int Left()
	{
		if (limit_ms <= 0)
			return limit_ms;
		if (INSTR_TIME_IS_ZERO(start))
		{
			INSTR_TIME_SET_CURRENT(start);
			return limit_ms;
		}

		instr_time elapsed;

		INSTR_TIME_SET_CURRENT(elapsed);
		INSTR_TIME_SUBTRACT(elapsed, start);
		const double left = limit_ms - INSTR_TIME_GET_MILLISEC(elapsed);

		return left < 1 ? 0 : static_cast<int>(left);
	}

  private:
	int limit_ms;
	instr_time start = {};
};

} // namespace cs
