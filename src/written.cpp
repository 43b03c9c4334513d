/*
 * written.cpp - follows the command numbers of a transaction.
 */
#include "written.hpp"

namespace cs {

/*
 * After a rollback: the number of the command that failed may be used or not,
 * and an abort is no time to find out.
 */
bool writes_are_unsettled;

namespace {

ExecutorStart_hook_type former_hook;

/* The transaction had written nothing before the command of this number. */
CommandId unwritten_until = FirstCommandId;

/* The deepest subtransaction level that began when nothing was written. */
int unwritten_level = 1;

/* The number of the next command; all before it have been counted. */
CommandId next_command()
{
	CommandCounterIncrement();
	return GetCurrentCommandId(false);
}

void start_statement(QueryDesc *query, int flags)
{
	settle_writes();
	if (former_hook != nullptr)
		former_hook(query, flags);
	else
		standard_ExecutorStart(query, flags);
}

void begin_subtransaction(int level)
{
	/* No command of a parallel query writes, and none may be counted. */
	if (unwritten_level < level - 1 || IsInParallelMode())
		return;
	settle_writes();
	if (next_command() == unwritten_until)
		unwritten_level = level;
}

/* What was written in a subtransaction that is rolled back was not written. */
void EndSubtransaction(SubXactEvent event, int level)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && level <= unwritten_level)
		writes_are_unsettled = true;
	unwritten_level = Min(unwritten_level, level - 1);
}

void end_of_transaction(XactEvent event, [[maybe_unused]] void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	writes_are_unsettled = false;
	unwritten_until = FirstCommandId;
	unwritten_level = 1;
}

void end_of_subtransaction(SubXactEvent event, [[maybe_unused]] SubTransactionId self,
						   [[maybe_unused]] SubTransactionId parent, [[maybe_unused]] void *arg)
{
	const int level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_START_SUB)
		begin_subtransaction(level);
	else if (event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB)
		EndSubtransaction(event, level);
}

} // namespace

void settle_writes_now()
{
	/* In an aborted subtransaction nothing but a rollback comes. */
	if (IsInParallelMode() || !IsTransactionState())
		return;
	unwritten_until = next_command();
	writes_are_unsettled = false;
}

bool has_written()
{
	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return false;
	settle_writes();
	return next_command() != unwritten_until;
}

void watch_writes()
{
	UnregisterXactCallback(end_of_transaction, nullptr); /* of an attempt that failed */
	RegisterXactCallback(end_of_transaction, nullptr);
	RegisterSubXactCallback(end_of_subtransaction, nullptr);
	former_hook = ExecutorStart_hook;
	ExecutorStart_hook = start_statement;
}

} // namespace cs
