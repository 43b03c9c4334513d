/*
 * command.cpp - keeps the plans of the last commands of the session.
 *
 * Only a command of one statement is kept, as a prepared statement would be:
 * PostgreSQL itself notices what makes its plan out of date. The statements of
 * a longer one are analyzed when it is their turn, as a client's would be: one
 * may use what another has just created. That is done anew for each execution.
 * So is one with a string in it: what 'now' or '01/02/2026' mean is settled by the
 * analysis, and belongs to the moment and the settings.
 */
#include <cstring>

#include "command.hpp"

namespace cs {

namespace {

/* A kept command; as a free place it has no text. */
struct KeptCommand
{
	char *text;
	int parameters;
	SPIPlanPtr plan;
	uint64 last_use;
};

constexpr int kKeptCommands = 16;
/* A longer one is more likely to be data than to come again. */
constexpr Size kLongestKept = 8192;

KeptCommand kept_commands[kKeptCommands];
uint64 uses;

KeptCommand *FindKept(const char *text, int parameters)
{
	for (KeptCommand &kept : kept_commands)
		if (kept.text != nullptr && kept.parameters == parameters && strcmp(kept.text, text) == 0)
			return &kept;
	return nullptr;
}

/* A free place or the one that was not used for the longest time, made free. */
KeptCommand *make_place()
{
	KeptCommand *oldest = kept_commands;

	for (KeptCommand &kept : kept_commands)
		if (kept.last_use < oldest->last_use)
			oldest = &kept;
	if (oldest->text != nullptr)
	{
		char *text = oldest->text;

		oldest->text = nullptr;
		oldest->last_use = 0;
		SPI_freeplan(oldest->plan);
		pfree(text);
	}
	return oldest;
}

void keep(SPIPlanPtr plan, const char *text, int parameters)
{
	KeptCommand *kept = make_place();
	char *copy = MemoryContextStrdup(TopMemoryContext, text);

	SPI_keepplan(plan); /* raises nothing after all that may fail */
	*kept = {copy, parameters, plan, ++uses};
}

/* A quote, or the dollar of one: that of a parameter is followed by a digit. */
bool MayHaveString(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text == '\'' || (*text == '$' && (text[1] < '0' || text[1] > '9')))
			return true;
	return false;
}

/* A position in an error is one in the command, and not in the query of the client. */
void move_error_position(void *arg)
{
	const int position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	internalerrposition(position);
	internalerrquery(static_cast<const char *>(arg));
}

/* The command's statement, if it is one. */
RawStmt *only_statement(const char *text)
{
	ErrorContextCallback position = {error_context_stack, move_error_position,
									 const_cast<char *>(text)};

	error_context_stack = &position;
	const List *statements = pg_parse_query(text);

	error_context_stack = position.previous;
	return list_length(statements) == 1 ? static_cast<RawStmt *>(linitial(statements)) : nullptr;
}

SPIPlanPtr prepare(const char *text, int parameters, RawStmt *statement)
{
	/* As for any client: LOCK and the like are not to have a snapshot before they run. */
	const bool with_snapshot = analyze_requires_snapshot(statement);
	auto *types = static_cast<Oid *>(palloc(static_cast<Size>(Max(1, parameters)) * sizeof(Oid)));

	for (int i = 0; i < parameters; i++)
		types[i] = TEXTOID;
	if (with_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());

	SPIPlanPtr plan = SPI_prepare(text, parameters, types);

	if (with_snapshot)
		PopActiveSnapshot();
	if (plan == nullptr)
		elog(ERROR, "could not prepare a command: %s", SPI_result_code_string(SPI_result));
	return plan;
}

/* The plan of a command that may be kept, of one statement; else null. */
SPIPlanPtr find_or_make_plan(const char *text, int parameters)
{
	if (strlen(text) > kLongestKept || MayHaveString(text))
		return nullptr;
	if (KeptCommand *kept = FindKept(text, parameters))
	{
		kept->last_use = ++uses;
		return kept->plan;
	}

	/* Attempts share the memory of the call, and a long text is a large tree. */
	MemoryContext parsed =
		AllocSetContextCreate(CurrentMemoryContext, "parsed command", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(parsed);
	RawStmt *statement = only_statement(text);

	MemoryContextSwitchTo(caller);

	SPIPlanPtr plan = statement == nullptr ? nullptr : prepare(text, parameters, statement);

	MemoryContextDelete(parsed);
	if (plan != nullptr)
		keep(plan, text, parameters);
	return plan;
}

void check_result(int result)
{
	switch (result)
	{
		case SPI_ERROR_TRANSACTION:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
					 errmsg("the command must not begin or end a transaction or a savepoint"),
					 errdetail("It runs in a transaction that is committed when it is done.")));
		case SPI_ERROR_COPY:
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("the command must not copy from or to the client"),
							errhint("COPY can read and write files and programs of the server.")));
		default:
			if (result < 0)
				elog(ERROR, "could not execute a command: %s", SPI_result_code_string(result));
	}
}

} // namespace

ParamListInfo make_text_parameters(const Datum *values, const bool *nulls, int count)
{
	ParamListInfo parameters = makeParamList(count);

	for (int i = 0; i < count; i++)
		parameters->params[i] = {values[i], nulls[i], PARAM_FLAG_CONST, TEXTOID};
	return parameters;
}

void execute_command(const char *text, ParamListInfo parameters)
{
	SPIExecuteOptions options = {};
	SPIPlanPtr plan = find_or_make_plan(text, parameters->numParams);

	options.params = parameters;
	options.dest = None_Receiver;
	check_result(plan != nullptr ? SPI_execute_plan_extended(plan, &options)
								 : SPI_execute_extended(text, &options));
}

} // namespace cs
