/*
 * statement.hpp - the statements that this session runs at the moment: what
 * they do besides locking keys.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/*
 * Statements that the executor runs, innermost first; those of functions are
 * above the statement that calls the function. Empty until the library has been
 * loaded, so not for the statement that loads it.
 */
struct RunningStatement
{
	const QueryDesc *query;
	RunningStatement *outer;
};

extern RunningStatement *running_statements;

/* Does the statement read a table? What an INSERT writes to is not read. */
bool ReadsTables(const PlannedStmt *statement);

/* Does the statement change rows, or mark them as locked? */
bool WritesRows(const QueryDesc *query);

/*
 * Does the client's statement do nothing but call this function, outside a
 * transaction block: SELECT f(…), SELECT * FROM f(…)? Its transaction then ends
 * with the call. Statements inside functions, procedures and DO are no such
 * ones, nor are several in one string. The first statement of a pipeline cannot
 * be told from one that is alone.
 */
bool IsAlone(FunctionCallInfo fcinfo);

/* Called once, when the library is loaded. */
void watch_statements();

} // namespace cs
