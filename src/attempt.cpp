/*
 * attempt.cpp - the transaction around a command, and the end of its key.
 *
 * The key is given back after the commit, so that whoever gets it next sees
 * what was written; as the freshness room wants it, in the next transaction.
 */
#include "attempt.hpp"
#include "caught_error.hpp"
#include "command.hpp"
#include "held.hpp"
#include "lock_tag.hpp"
#include "printable.hpp"
#include "release.hpp"

namespace cs {

namespace {

void describe_attempt(void *arg)
{
	const auto *task = static_cast<const Task *>(arg);
	const Key &key = task->request.key;

	errcontext("attempt %d of %d to run a command under key \"%s\"", task->attempt,
			   task->max_attempts, printable(key.bytes, key.size));
}

/* A command may take other keys, and must not part with this one: nobody would be kept out. */
void check_key_is_held(const LockRequest &request)
{
	if (session_holds(request.key.tag, request.mode) == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the command unlocked key \"%s\", under which it runs",
							   printable(request.key.bytes, request.key.size))));
}

/*
 * In a subtransaction, because only the end of one puts back the SPI
 * connections of functions that an error left.
 */
ErrorData *execute(const Task &task)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = nullptr;

	/* Looked at when the first snapshot is taken; until then it is the default of the session. */
	if (task.isolation != kDefaultIsolation)
		XactIsoLevel = task.isolation;
	BeginInternalSubTransaction(nullptr);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		execute_command(task.command, task.parameters);
		check_key_is_held(task.request);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		error = take_caught_error(context, true);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* SPI rolls a transaction back by itself whose commit failed, and begins a new one. */
ErrorData *commit()
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData *volatile error = nullptr;

	PG_TRY();
	{
		SPI_commit();
	}
	PG_CATCH();
	{
		error = take_caught_error(context, false);
	}
	PG_END_TRY();
	return error;
}

ErrorData *execute_and_commit(const Task &task)
{
	/* The transaction that waited for the key ends: now() of the command is after the wait. */
	SPI_commit();

	ErrorData *error = execute(task);

	if (error == nullptr)
		return commit();
	SPI_rollback();
	return error;
}

/* In whatever state the error left the session: nothing but the lock itself. */
void GiveUpKey(const LockRequest &request)
{
	const LOCKTAG tag = LockTag(request.key.tag);

	LWLockReleaseAll();
	if (HeldByThisSession(tag, request.mode))
		LockRelease(&tag, request.mode, true);
	held_losses++;
}

} // namespace

ErrorData *attempt_under_key(const Task &task)
{
	ErrorContextCallback description = {error_context_stack, describe_attempt,
										const_cast<Task *>(&task)};
	ErrorData *volatile error = nullptr;
	volatile bool released = false;

	error_context_stack = &description;
	PG_TRY();
	{
		error = execute_and_commit(task);
		release_session_lock(task.request.key.tag, task.request.mode);
		released = true;
	}
	PG_CATCH();
	{
		if (!released)
			GiveUpKey(task.request);
		PG_RE_THROW();
	}
	PG_END_TRY();
	error_context_stack = description.previous;
	return error;
}

} // namespace cs
