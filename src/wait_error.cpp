/*
 * wait_error.cpp - messages, details and hints of a wait that failed.
 */
#include "wait_error.hpp"
#include "parties.hpp"

namespace cs {

namespace {

/* A detail names so many holders and counts the rest. */
constexpr int kNamedHolders = 5;

int64 MillisecondsSince(TimestampTz then)
{
	return Max(0, GetCurrentTimestamp() - then) / 1000;
}

void append_holder(StringInfo out, const Party &holder)
{
	if (holder.pid == 0)
	{
		appendStringInfo(out, "A prepared transaction holds it in %s mode.", ModeName(holder.mode));
		return;
	}
	appendStringInfo(out, "Process %d holds it in %s mode", holder.pid, ModeName(holder.mode));
	if (holder.known && holder.transaction_start != 0)
		appendStringInfo(out, ", in a transaction that began " INT64_FORMAT " ms ago",
						 MillisecondsSince(holder.transaction_start));
	else if (holder.known)
		appendStringInfo(out, " in session scope, idle for " INT64_FORMAT " ms",
						 MillisecondsSince(holder.state_change));
	if (holder.known && OidIsValid(holder.role) && may_see_activity_of(holder.role))
		appendStringInfo(out, " (role \"%s\", application \"%s\")", NameStr(holder.role_name),
						 holder.application);
	appendStringInfoChar(out, '.');
}

/* One line for each session that is in the way of the request. */
char *describe_holders(const LockRequest &request)
{
	const Parties parties = collect_parties(request.key.tag);
	StringInfoData out;
	int holders = 0;
	int waiters = 0;

	initStringInfo(&out);
	for (int i = 0; i < parties.count; i++)
	{
		const Party &party = parties.all[i];

		if (party.pid == MyProcPid)
			continue;
		if (!party.granted)
			waiters++;
		else if (DoLockModesConflict(request.mode, party.mode) && holders++ < kNamedHolders)
		{
			if (out.len > 0)
				appendStringInfoChar(&out, '\n');
			append_holder(&out, party);
		}
	}
	if (holders > kNamedHolders)
		appendStringInfo(&out, "\nSo do %d more.", holders - kNamedHolders);
	if (holders == 0)
		appendStringInfoString(&out, "No other session holds it any more.");
	if (waiters > 0)
		appendStringInfo(&out, "\nOther sessions that wait for it: %d.", waiters);
	return out.data;
}

} // namespace

char *printable_text(const char *bytes, size_t size)
{
	char printable[kMaxEscapedKeyBytes];

	EscapeKey(bytes, size, GetDatabaseEncoding() == PG_UTF8, printable);
	return pstrdup(printable);
}

char *printable_key(const Key &key)
{
	return printable_text(key.bytes, key.size);
}

void raise_lock_timeout(const LockRequest &request, int timeout_ms)
{
	char *key = printable_key(request.key);

	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not lock key \"%s\" within %d ms", key, timeout_ms),
			 errdetail("%s", describe_holders(request)),
			 errhint("Retry the transaction, or allow a longer timeout.  cs_holders(%s) shows "
					 "who holds the key.",
					 quote_literal_cstr(key))));
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
	char key[kMaxEscapedKeyBytes];

	EscapeKey(request->key.bytes, request->key.size, GetDatabaseEncoding() == PG_UTF8, key);
	errcontext("locking key \"%s\" in %s mode", key, ModeName(request->mode));
	if (geterrcode() == ERRCODE_OUT_OF_MEMORY)
		errhint("If the server's lock table is full, lock fewer keys at once, end transactions "
				"that hold many, or increase max_locks_per_transaction.");
}

} // namespace cs
