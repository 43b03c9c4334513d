/*
 * new_order.hpp - an order of locks that a session sees for the first time.
 */
#pragma once

#include "lock_order.hpp"

namespace cs {

/*
 * Enters the order if nobody did before, with who sees it now. If that closes
 * a cycle, it is reported as concurrency_safe.check_order says: 55000 or a
 * warning with what the caller may see of the others, and to the server's log
 * with all. False if there was no place. Does nothing if the graph is of another
 * generation.
 */
bool enter_order(const Order &order, uint32 generation);

} // namespace cs
