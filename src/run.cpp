/*
 * run.cpp - cs_run: one command under a key, with retries, in one call.
 *
 *   1. Check the arguments, and end the transaction of the CALL: the wait for
 *      the key holds no snapshot, and the command's own is taken after it.
 *   2. Take the key, in session scope: it has to outlive transactions.
 *   3. Run the command in a transaction of its own, commit, give the key back.
 *   4. After an error that may go away by itself, pause, and back to 2. The key
 *      is free meanwhile: whoever waits for it may be what the command met.
 */
#include "arguments.hpp"
#include "attempt.hpp"
#include "backoff.hpp"
#include "command.hpp"
#include "lock.hpp"
#include "rows.hpp"
#include "shared_memory.hpp"

namespace cs {

namespace {

struct Run
{
	Task task;
	Backoff backoff;
	int timeout_ms;
	OnTimeout on_conflict;
};

/* The end of the call: what it did, and how many attempts there were. */
struct Outcome
{
	const char *name;
	int attempts;
};

void require_own_transaction(FunctionCallInfo fcinfo)
{
	const Node *context = fcinfo->context;

	if (context != nullptr && IsA(context, CallContext) &&
		!reinterpret_cast<const CallContext *>(context)->atomic)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
			 errmsg("cs_run cannot be called inside a transaction"),
			 errdetail("It runs and commits its command in a transaction of its own."),
			 errhint("CALL it alone: outside a transaction block, as the only statement of its "
					 "string, and not from a function or a procedure with SECURITY DEFINER or "
					 "SET.")));
}

char *read_text(FunctionCallInfo fcinfo, int index, const char *name)
{
	require_not_null(fcinfo, index, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(index));
}

int read_at_least(FunctionCallInfo fcinfo, int index, const char *name, int least)
{
	require_not_null(fcinfo, index, name);

	const int value = PG_GETARG_INT32(index);

	if (value < least)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be at least %d: %d", name, least, value)));
	return value;
}

OnTimeout read_on_conflict(FunctionCallInfo fcinfo, int index)
{
	const char *name = read_text(fcinfo, index, "on_conflict");

	if (strcmp(name, "raise") == 0)
		return OnTimeout::kRaise;
	if (strcmp(name, "skip") == 0)
		return OnTimeout::kReturnFalse;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unrecognized value of on_conflict: \"%s\"", name),
					errhint("It is raise or skip.")));
}

int read_isolation(FunctionCallInfo fcinfo, int index)
{
	static constexpr struct
	{
		const char *name;
		int level;
	} kLevels[] = {{"serializable", XACT_SERIALIZABLE},
				   {"repeatable read", XACT_REPEATABLE_READ},
				   {"read committed", XACT_READ_COMMITTED},
				   {"read uncommitted", XACT_READ_UNCOMMITTED}};

	if (PG_ARGISNULL(index))
		return kDefaultIsolation;

	const char *name = read_text(fcinfo, index, "isolation");

	for (const auto &level : kLevels)
		if (pg_strcasecmp(name, level.name) == 0)
			return level.level;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unrecognized isolation level: \"%s\"", name),
					errhint("The isolation levels are read uncommitted, read committed, "
							"repeatable read and serializable; null stands for "
							"default_transaction_isolation.")));
}

ParamListInfo read_parameters(FunctionCallInfo fcinfo, int index)
{
	require_not_null(fcinfo, index, "args");

	/* A copy, since what it is now may be in a table, which takes a snapshot to read. */
	ArrayType *array = PG_GETARG_ARRAYTYPE_P_COPY(index);
	Datum *values;
	bool *nulls;
	int count;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("args must be an array of one dimension, not %d", ARR_NDIM(array))));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	return make_text_parameters(values, nulls, count);
}

/* In memory that outlives the transaction. */
LockRequest read_request(FunctionCallInfo fcinfo)
{
	Key key = read_key(fcinfo, 0, "key");

	key.bytes = pnstrdup(key.bytes, key.size);
	return MakeRequest(key, kExclusive);
}

Run read_run(FunctionCallInfo fcinfo)
{
	Run run;

	run.task.request = read_request(fcinfo);
	run.task.command = read_text(fcinfo, 1, "command");
	run.task.parameters = read_parameters(fcinfo, 2);
	run.timeout_ms = read_timeout(fcinfo, 3);
	run.task.attempt = 1;
	run.task.max_attempts = read_at_least(fcinfo, 4, "max_attempts", 1);
	run.backoff.first_ms = read_at_least(fcinfo, 5, "backoff_ms", 0);
	run.backoff.longest_ms = read_at_least(fcinfo, 6, "max_backoff_ms", 0);
	run.on_conflict = read_on_conflict(fcinfo, 7);
	run.task.isolation = read_isolation(fcinfo, 8);
	return run;
}

bool take_key(Run &run)
{
	TimeBudget budget(run.timeout_ms);

	/* Alone: nothing has been read, and the key is always given back by this call. */
	return take_locks(&run.task.request, 1, {Scope::kSession, run.on_conflict, true}, budget);
}

void Count(RunCount what)
{
	if (run_counters != nullptr)
		run_counters->Add(what);
}

/* What concurrency causes, and may go away by itself. */
bool MayRetry(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		   error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		   error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/* Pauses for the next attempt, or raises the error. */
void prepare_to_retry(Run &run, ErrorData *error)
{
	if (!MayRetry(error) || run.task.attempt == run.task.max_attempts)
	{
		Count(RunCount::kFailure);
		ReThrowError(error);
	}
	FreeErrorData(error);
	Count(RunCount::kRetry);
	back_off(run.backoff, run.task.attempt);
	run.task.attempt++;
}

Outcome execute_run(Run &run)
{
	while (take_key(run))
	{
		ErrorData *error = attempt_under_key(run.task);

		if (error == nullptr)
		{
			Count(RunCount::kRun);
			return {"done", run.task.attempt};
		}
		prepare_to_retry(run, error);
	}
	return {"busy", run.task.attempt - 1};
}

} // namespace

} // namespace cs

extern "C" {
CS_SQL_FUNCTION(cs_run);
}

using namespace cs;

/*
 * cs_run(key, command, args, timeout_ms, max_attempts, backoff_ms, max_backoff_ms,
 * on_conflict, isolation, INOUT outcome, INOUT attempts) - commits the command
 * under the key; raises the error of its last attempt.
 */
Datum cs_run(PG_FUNCTION_ARGS)
{
	static TupleDesc row_type = nullptr;
	bool nulls[] = {false, false};

	require_lockable();
	require_own_transaction(fcinfo);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	Run run = read_run(fcinfo);

	SPI_commit();
	const Outcome outcome = execute_run(run);

	SPI_finish();

	Datum values[] = {CStringGetTextDatum(outcome.name), Int32GetDatum(outcome.attempts)};

	return make_row_of_kept_type(&row_type, fcinfo, values, nulls);
}
