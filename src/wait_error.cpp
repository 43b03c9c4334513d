/*
 * wait_error.cpp - messages, details and hints of a wait that failed.
 */
#include "wait_error.hpp"
#include "parties.hpp"
#include "printable.hpp"

namespace cs {

namespace {

/* A detail names so many sessions and counts the rest. */
constexpr int kNamedParties = 5;

int64 MillisecondsSince(TimestampTz then)
{
	return Max(0, GetCurrentTimestamp() - then) / 1000;
}

void append_party(StringInfo out, const Party &party)
{
	const Session *session = party.session;

	if (party.mode == kPermit)
		appendStringInfo(out, "Process %d has a permit", party.pid);
	else if (party.pid == 0)
		appendStringInfo(out, "A prepared transaction holds it in %s mode", ModeName(party.mode));
	else
		appendStringInfo(out, "Process %d %s it in %s mode", party.pid,
						 party.granted ? "holds" : "waits for", ModeName(party.mode));
	if (session != nullptr && session->active && session->transaction_start != 0)
		appendStringInfo(out, ", in a transaction that began " INT64_FORMAT " ms ago",
						 MillisecondsSince(session->transaction_start));
	else if (session != nullptr && session->active)
		appendStringInfo(out, " in session scope, idle for " INT64_FORMAT " ms",
						 MillisecondsSince(session->state_change));
	if (session != nullptr && OidIsValid(session->role) && may_see_activity_of(session->role))
	{
		appendStringInfoString(out, " (");
		if (NameStr(session->role_name)[0] != '\0') /* else it was dropped */
			appendStringInfo(out, "role \"%s\", ", NameStr(session->role_name));
		appendStringInfo(out, "application \"%s\")", session->application);
	}
	appendStringInfoChar(out, '.');
}

/* Does that session stand between the request and the lock? */
bool IsInTheWay(const LockRequest &request, const Party &party)
{
	if (request.mode == kPermit)
		return party.mode == kPermit && party.granted;
	return party.pid != MyProcPid && DoLockModesConflict(request.mode, party.mode);
}

/* A line for each holder in the way; without any, for each who waits for a conflicting mode. */
char *describe_parties_in_the_way(const LockRequest &request)
{
	const Parties parties = collect_parties(request.key.tag);
	StringInfoData out;
	bool any_holder = false;
	int named = 0;
	int unnamed = 0;

	for (int i = 0; i < parties.count; i++)
		any_holder |= parties.all[i].granted && IsInTheWay(request, parties.all[i]);

	initStringInfo(&out);
	for (int i = 0; i < parties.count; i++)
	{
		const Party &party = parties.all[i];

		if (party.granted != any_holder || !IsInTheWay(request, party))
			continue;
		if (++named > kNamedParties)
		{
			unnamed++;
			continue;
		}
		if (out.len > 0)
			appendStringInfoChar(&out, '\n');
		append_party(&out, party);
	}
	if (unnamed > 0)
		appendStringInfo(&out, "\nSo do %d more.", unnamed);
	if (named == 0)
		appendStringInfoString(&out, "No other session is in the way any more.");
	return out.data;
}

} // namespace

void raise_lock_timeout(const LockRequest &request, int timeout_ms)
{
	const char *action = request.mode == kPermit ? "get a permit of" : "lock";

	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not %s key \"%s\" within %d ms", action,
					printable(request.key.bytes, request.key.size), timeout_ms),
			 errdetail("%s", describe_parties_in_the_way(request)),
			 errhint("Retry the transaction, or allow a longer timeout.  The function cs_holders "
					 "shows who holds a key.")));
}

void raise_too_many_keys(long held, long wanted, long limit)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("too many keys locked by this session"),
			 errdetail("The session holds %ld, the call asks for %ld more, and the limit is %ld.",
					   held, wanted, limit),
			 errhint("Lock one key that stands for all of them, lock their common ancestor with "
					 "cs_lock_path, or raise concurrency_safe.max_keys_per_session and with it "
					 "max_locks_per_transaction.")));
}

void describe_request(void *arg)
{
	const auto *request = static_cast<const LockRequest *>(arg);

	const char *key = printable(request->key.bytes, request->key.size);

	if (request->mode == kPermit)
		errcontext("taking a permit of key \"%s\"", key);
	else
		errcontext("locking key \"%s\" in %s mode", key, ModeName(request->mode));
	hint_at_lock_table();
}

void hint_at_lock_table()
{
	if (geterrcode() == ERRCODE_OUT_OF_MEMORY)
		errhint("If the server's lock table is full, lock fewer keys at once, end transactions "
				"that hold many, or increase max_locks_per_transaction.");
}

} // namespace cs
