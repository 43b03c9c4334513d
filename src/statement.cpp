/*
 * statement.cpp - keeps the stack of running statements, and looks into plans.
 */
#include <cstring>

#include "statement.hpp"

namespace cs {

RunningStatement *running_statements;
bool client_executes;

namespace {

ExecutorRun_hook_type former_hook;

/* PG 18 dropped the hook's last argument: hence Rest. */
template <typename... Rest>
void run_statement(QueryDesc *query, ScanDirection direction, uint64 count, Rest... rest)
{
	RunningStatement statement = {query, running_statements};

	running_statements = &statement;
	PG_TRY();
	{
		if (former_hook != nullptr)
			former_hook(query, direction, count, rest...);
		else
			standard_ExecutorRun(query, direction, count, rest...);
	}
	PG_FINALLY();
	{
		running_statements = statement.outer;
	}
	PG_END_TRY();
}

/* What a cast of the result, such as drivers write it, is applied to; else null. */
const void *CastOf(const Node *node)
{
	switch (nodeTag(node))
	{
		case T_RelabelType:
			return reinterpret_cast<const RelabelType *>(node)->arg;
		case T_CoerceViaIO:
			return reinterpret_cast<const CoerceViaIO *>(node)->arg;
		case T_ArrayCoerceExpr:
			return reinterpret_cast<const ArrayCoerceExpr *>(node)->arg;
		case T_FuncExpr: {
			const auto *call = reinterpret_cast<const FuncExpr *>(node);

			const bool is_cast = call->funcformat == COERCE_EXPLICIT_CAST ||
								 call->funcformat == COERCE_IMPLICIT_CAST;

			return is_cast ? linitial(call->args) : nullptr;
		}
		default:
			return nullptr;
	}
}

bool IsCallOf(const Node *node, Oid function)
{
	while (const void *inner = CastOf(node))
		node = static_cast<const Node *>(inner);
	return IsA(node, FuncExpr) && reinterpret_cast<const FuncExpr *>(node)->funcid == function;
}

/* SELECT f(…): every column is a call of the function. */
bool SelectsOnlyCalls(const Plan *plan, Oid function)
{
	const ListCell *cell;

	foreach (cell, plan->targetlist)
	{
		const auto *column = static_cast<const TargetEntry *>(lfirst(cell));

		if (!IsCallOf(reinterpret_cast<const Node *>(column->expr), function))
			return false;
	}
	return plan->targetlist != NIL;
}

/* SELECT * FROM f(…): the function is all that is read, and its columns all that is shown. */
bool ReadsOnlyCall(const Plan *plan, Oid function)
{
	const List *functions = reinterpret_cast<const FunctionScan *>(plan)->functions;
	const ListCell *cell;

	foreach (cell, plan->targetlist)
		if (!IsA(static_cast<const TargetEntry *>(lfirst(cell))->expr, Var))
			return false;
	return plan->qual == NIL && list_length(functions) == 1 &&
		   IsCallOf(static_cast<const RangeTblFunction *>(linitial(functions))->funcexpr, function);
}

bool DoesOnly(const Plan *plan, Oid function)
{
	if (IsA(plan, Limit))
		plan = plan->lefttree;
	if (IsA(plan, Result))
		return plan->lefttree == nullptr && plan->qual == NIL &&
			   reinterpret_cast<const Result *>(plan)->resconstantqual == nullptr &&
			   SelectsOnlyCalls(plan, function);
	return IsA(plan, FunctionScan) && ReadsOnlyCall(plan, function);
}

/*
 * A cursor of a function is a portal as well. That of a client runs the very text
 * that the client sent, or what its EXECUTE refers to, which no cursor is.
 */
bool IsOfClient(Portal portal)
{
	if (client_executes && !portal->visible)
		return true;
	return debug_query_string != nullptr && strcmp(portal->sourceText, debug_query_string) == 0;
}

} // namespace

bool ReadsTables(const PlannedStmt *statement)
{
	const ListCell *cell;
	int index = 0;

	foreach (cell, statement->rtable)
	{
		const auto *entry = static_cast<const RangeTblEntry *>(lfirst(cell));

		index++;
		if (entry->rtekind == RTE_RELATION && !(statement->commandType == CMD_INSERT &&
												list_member_int(statement->resultRelations, index)))
			return true;
	}
	return false;
}

const PlannedStmt *LoneStatement(FunctionCallInfo fcinfo)
{
	if (IsTransactionBlock() || IsLaterInPipeline() || ActivePortal == nullptr ||
		list_length(ActivePortal->stmts) != 1)
		return nullptr;

	const auto *statement = static_cast<const PlannedStmt *>(linitial(ActivePortal->stmts));

	if (statement->commandType == CMD_SELECT && !statement->hasModifyingCTE &&
		DoesOnly(statement->planTree, fcinfo->flinfo->fn_oid) && IsOfClient(ActivePortal))
		return statement;
	return nullptr;
}

void watch_statements()
{
	former_hook = ExecutorRun_hook;
	ExecutorRun_hook = run_statement;
}

} // namespace cs
