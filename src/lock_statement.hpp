/*
 * lock_statement.hpp - LOCK cs_key."key": PostgreSQL's own statement on a key.
 *
 * LOCK is the one statement that can wait without a snapshot. So a REPEATABLE
 * READ or SERIALIZABLE transaction that begins with it sees what the last
 * holder committed, and who waits holds back neither VACUUM nor CREATE INDEX
 * CONCURRENTLY.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/*
 * Locks the keys of a LOCK statement and returns what is left of it; a
 * statement without keys as it is. Errors: those of cs_lock; 22023 for another
 * mode or a name that the parser may have cut; 25P01 outside a transaction
 * block; 42501 without rights on the schema; 0A000 for tables beside keys.
 */
PlannedStmt *lock_keys_of_statement(PlannedStmt *planned, const char *query, bool top_level);

} // namespace cs
