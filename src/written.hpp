/*
 * written.hpp - has the current transaction written anything that was not
 * rolled back?
 *
 * Every command that may write rows, or mark them as locked, uses up a command
 * number when it begins; what it did is counted by the number of the next one.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/*
 * True also if such a command found no row. Counts the command number of this
 * moment as used, as every command of a function does. Not in an aborted
 * transaction.
 */
bool has_written();

/* Before each statement and each utility command; costs a comparison. */
extern bool writes_are_unsettled;
void settle_writes_now();

inline void settle_writes()
{
	if (writes_are_unsettled)
		settle_writes_now();
}

/* Registers for the ends of transactions and the begin of statements; called once. */
void watch_writes();

} // namespace cs
