/*
 * caught_error.hpp - takes an error off the server's stack, in a PG_CATCH.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/*
 * Returns a copy in that memory context, which is the current one then. Without
 * memory for it, that is the error which is raised: after the rollback of the
 * subtransaction, if one is open, because nobody else knows of it. Left open it would
 * leave a session that is in no transaction block in a failed one.
 */
ErrorData *take_caught_error(MemoryContext context, bool subtransaction);

} // namespace cs
