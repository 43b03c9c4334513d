/*
 * wait_error.hpp - what the user is told when a key cannot be locked.
 */
#pragma once

#include "lock_request.hpp"

namespace cs {

/* 55P03: the key could not be locked within so many milliseconds; names the holders. */
[[noreturn]] void raise_lock_timeout(const LockRequest &request, int timeout_ms);

/* 53400: more keys than concurrency_safe.max_keys_per_session. */
[[noreturn]] void raise_too_many_keys(long held, long wanted, long limit);

/*
 * Error context callback for the time in which a lock is asked for: names the
 * key and the mode, and hints at the lock table. arg is the LockRequest.
 */
void describe_request(void *arg);

/* For error context callbacks: what to do about a full lock table, if that may be the error. */
void hint_at_lock_table();

} // namespace cs
