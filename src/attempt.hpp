/*
 * attempt.hpp - runs a command under a key, in a transaction of its own.
 *
 * For procedures that may end transactions: within an SPI connection that is
 * not atomic, with a transaction in progress that has not done anything.
 */
#pragma once

#include "lock_request.hpp"
#include "postgres.hpp"

namespace cs {

/* What is to be done, and which of how many attempts it is. */
struct Task
{
	LockRequest request;
	const char *command;
	ParamListInfo parameters;
	int isolation; /* XACT_…, or kDefaultIsolation */
	int attempt;
	int max_attempts;
};

inline constexpr int kDefaultIsolation = -1;

/*
 * Runs the command under the key, which this session was granted in session
 * scope, commits it, and gives the key back: one hold. Returns null, or the
 * error of the command or of its commit; that transaction was rolled back then,
 * and the error is in the memory context of the caller. A new transaction is in
 * progress in either case. What else goes wrong is raised, and the key was
 * given back then, too.
 */
ErrorData *attempt_under_key(const Task &task);

} // namespace cs
