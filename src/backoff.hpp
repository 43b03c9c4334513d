/*
 * backoff.hpp - the pause between two attempts.
 *
 * Doubled each time up to a limit, and of that a random part: "full jitter".
 * Those who failed together would otherwise meet again and again. See Brooker,
 * "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
 */
#pragma once

namespace cs {

struct Backoff
{
	int first_ms;
	int longest_ms;
};

/* Sleeps after the failure of that attempt, of which 1 is the first; interrupts are served. */
void back_off(const Backoff &backoff, int attempt);

} // namespace cs
