/*
 * utility.cpp - looks at every command that is not planned, before PostgreSQL
 * runs it.
 */
#include "utility.hpp"
#include "freshness.hpp"
#include "lock_statement.hpp"
#include "written.hpp"

namespace cs {

namespace {

ProcessUtility_hook_type former_hook;

bool IsCommitPrepared(const Node *statement)
{
	return IsA(statement, TransactionStmt) &&
		   reinterpret_cast<const TransactionStmt *>(statement)->kind == TRANS_STMT_COMMIT_PREPARED;
}

void process_utility(PlannedStmt *planned, const char *query, bool read_only_tree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	const auto next = former_hook != nullptr ? former_hook : standard_ProcessUtility;

	settle_writes();
	if (IsCommitPrepared(planned->utilityStmt))
		know_old_writers();
	if (IsA(planned->utilityStmt, LockStmt))
		planned = lock_keys_of_statement(planned, query, context == PROCESS_UTILITY_TOPLEVEL);
	next(planned, query, read_only_tree, context, params, environment, dest, completion);
}

} // namespace

void watch_utility_commands()
{
	former_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}

} // namespace cs
