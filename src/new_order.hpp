/*
 * new_order.hpp - an order of locks that a session sees for the first time.
 */
#pragma once

#include "lock_mode.hpp"
#include "lock_order.hpp"

namespace cs {

/* The name of a class, as far as it is shown, and the hash that tells it from others. */
struct ClassName
{
	uint64 hash;
	uint16 size; /* of the whole name */
	char bytes[kStoredNameBytes];
};

struct ClassLock
{
	ClassName name;
	LOCKMODE mode;
};

/*
 * Enters the order if nobody did before, with who sees it now. If that closes
 * a cycle, it is reported as concurrency_safe.check_order says: 55000 or a
 * warning with what the caller may see of the others, and to the server's log
 * with all. True if the graph has the order.
 */
bool enter_order(const ClassLock &held, const ClassLock &taken);

} // namespace cs
