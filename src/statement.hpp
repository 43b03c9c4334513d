/*
 * statement.hpp - the statements that this session runs at the moment: what
 * they do besides locking keys.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/*
 * Statements that the executor runs, innermost first; behind those of functions
 * comes the statement that calls the function. What ran before the library was
 * loaded is missing.
 */
struct RunningStatement
{
	const QueryDesc *query;
	RunningStatement *outer;
};

extern RunningStatement *running_statements;

/* A prepared statement runs because the client itself sent EXECUTE. */
extern bool client_executes;

/* Does the statement read a table? What an INSERT writes to is not read. */
bool ReadsTables(const PlannedStmt *statement);

/*
 * The client's statement, if outside a transaction block it does nothing but
 * call this function: SELECT f(…), SELECT * FROM f(…). Its transaction then ends
 * with the call. Statements inside functions, procedures and DO are no such
 * ones, nor are several in one string. The first statement of a pipeline cannot
 * be told from one that is alone. Null in all other cases.
 */
const PlannedStmt *LoneStatement(FunctionCallInfo fcinfo);

/* Called once, when the library is loaded. */
void watch_statements();

} // namespace cs
