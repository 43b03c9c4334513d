/*
 * backoff.cpp - how long, and the sleep.
 */
#include <algorithm>

#include "postgres.hpp"

#include "backoff.hpp"

namespace cs {

namespace {

/* Milliseconds; what would not fit is beyond every limit. */
double PauseAfter(const Backoff &backoff, int attempt)
{
	const int64 doubled = static_cast<int64>(backoff.first_ms) << std::min(attempt - 1, 31);

	return static_cast<double>(std::min<int64>(doubled, backoff.longest_ms)) * RandomFraction();
}

long MillisecondsUntil(TimestampTz end)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
}

} // namespace

void back_off(const Backoff &backoff, int attempt)
{
	const auto pause_us = static_cast<int64>(PauseAfter(backoff, attempt) * 1000);
	const TimestampTz end = GetCurrentTimestamp() + pause_us;

	CHECK_FOR_INTERRUPTS();
	/* Others may set our latch for reasons of their own. */
	for (long left = MillisecondsUntil(end); left > 0; left = MillisecondsUntil(end))
	{
		WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left,
				  PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

} // namespace cs
