/*
 * autocommit.cpp - looks at the statement that calls a lock function.
 */
#include "autocommit.hpp"
#include "printable.hpp"
#include "settings.hpp"
#include "statement.hpp"

namespace cs {

bool check_alone(FunctionCallInfo fcinfo, const LockRequest *requests, int count, Scope scope)
{
	const PlannedStmt *alone = LoneStatement(fcinfo);

	if (alone == nullptr)
		return false;
	if (check_autocommit == 0 || scope == Scope::kSession || count == 0)
		return !ReadsTables(alone);

	const Key &key = requests[0].key;
	const char *what = requests[0].mode == kPermit ? "permit of" : "lock on";

	ereport(
		check_autocommit,
		(errcode(check_autocommit >= ERROR ? ERRCODE_NO_ACTIVE_SQL_TRANSACTION : ERRCODE_WARNING),
		 errmsg("%s key \"%s\" ends with its own statement", what, printable(key.bytes, key.size)),
		 errdetail("Outside a transaction block each statement is a transaction of its own."),
		 errhint("Begin a transaction before, and commit it when the work under the lock is "
				 "done.")));
	return true;
}

} // namespace cs
