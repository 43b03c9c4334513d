/*
 * lock_statement.hpp - LOCK cs_key."key": PostgreSQL's own statement on a key.
 *
 * LOCK is the one statement that can wait without a snapshot. So a REPEATABLE
 * READ or SERIALIZABLE transaction that begins with it sees what the last
 * holder committed, and who waits holds back neither VACUUM nor CREATE INDEX
 * CONCURRENTLY.
 */
#pragma once

namespace cs {

/* Called once, when the library is loaded. */
void watch_lock_statements();

} // namespace cs
