/*
 * autocommit.hpp - is a lock taken that ends with its own statement?
 */
#pragma once

#include "lock_request.hpp"

namespace cs {

/*
 * For a SQL function that is about to take these locks. If the transaction ends
 * with the statement, which does nothing else, a lock in transaction scope
 * protects nothing: reported as concurrency_safe.check_autocommit says, 25P01
 * at error. True if nothing is read in this transaction, either.
 */
bool check_alone(FunctionCallInfo fcinfo, const LockRequest *requests, int count, Scope scope);

} // namespace cs
