/*
 * utility.cpp - looks at every command that is not planned, before PostgreSQL
 * runs it.
 */
#include "utility.hpp"
#include "freshness.hpp"
#include "lock_statement.hpp"
#include "statement.hpp"
#include "written.hpp"

namespace cs {

namespace {

ProcessUtility_hook_type former_hook;

bool IsCommitPrepared(const Node *statement)
{
	return IsA(statement, TransactionStmt) &&
		   reinterpret_cast<const TransactionStmt *>(statement)->kind == TRANS_STMT_COMMIT_PREPARED;
}

/* Does the client itself send the command, and not a function? */
bool IsOfClient(ProcessUtilityContext context)
{
	return context == PROCESS_UTILITY_TOPLEVEL;
}

void process_utility(PlannedStmt *planned, const char *query, bool read_only_tree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	const auto next = former_hook != nullptr ? former_hook : standard_ProcessUtility;
	const bool former_client_executes = client_executes;

	settle_writes();
	if (IsCommitPrepared(planned->utilityStmt))
		know_old_writers();
	if (IsA(planned->utilityStmt, LockStmt))
		planned = lock_keys_of_statement(planned, query, IsOfClient(context));
	PG_TRY();
	{
		client_executes = IsA(planned->utilityStmt, ExecuteStmt) && IsOfClient(context);
		next(planned, query, read_only_tree, context, params, environment, dest, completion);
	}
	PG_FINALLY();
	{
		client_executes = former_client_executes;
	}
	PG_END_TRY();
}

} // namespace

void watch_utility_commands()
{
	former_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}

} // namespace cs
