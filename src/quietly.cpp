/*
 * quietly.cpp - catches an error, and puts back what raising one changes.
 */
#include "quietly.hpp"

namespace cs {

void RunQuietly(void (*work)(void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	const uint32 interrupts_held = InterruptHoldoffCount;
	const uint32 cancels_held = QueryCancelHoldoffCount;

	InterruptHoldoffCount = interrupts_held + 1; /* HOLD_INTERRUPTS is no C++20 */
	PG_TRY();
	{
		work(arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		LWLockReleaseAll();
	}
	PG_END_TRY();
	InterruptHoldoffCount = interrupts_held;
	QueryCancelHoldoffCount = cancels_held;
}

} // namespace cs
