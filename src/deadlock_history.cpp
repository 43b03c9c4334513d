/*
 * deadlock_history.cpp - from a deadlock error to an entry of the ring.
 *
 * Parts of this run while an error is being reported: they use no catalog, so
 * that role names are looked up by whoever reads the entry, and they allocate
 * nothing but what the server itself allocates to show its sessions.
 */
#include "deadlock_history.hpp"
#include "deadlock_text.hpp"
#include "held.hpp"
#include "key_name.hpp"
#include "lock_mode.hpp"
#include "lock_tag.hpp"
#include "shared_memory.hpp"

namespace cs {

namespace {

emit_log_hook_type former_log_hook;

/* Marks an error that the lock room has recorded and that may still be logged. */
constexpr char kRecordedBy[] = "record_deadlock";

void CopyClipped(char *to, Size room, const char *from)
{
	const auto size = static_cast<Size>(pg_encoding_mbcliplen(
		GetDatabaseEncoding(), from, static_cast<int>(strlen(from)), static_cast<int>(room - 1)));

	memcpy(to, from, size);
	to[size] = '\0';
}

/* Appends as much as there is room for. */
void Append(char *to, Size room, const char *from, Size size)
{
	const Size used = strlen(to);
	const auto fitting = static_cast<Size>(pg_encoding_mbcliplen(
		GetDatabaseEncoding(), from, static_cast<int>(size), static_cast<int>(room - 1 - used)));

	memcpy(to + used, from, fitting);
	to[used + fitting] = '\0';
}

/* The line as PostgreSQL wrote it, with the key's name behind its lock tag. */
void AppendLine(Deadlock *deadlock, const DeadlockLine &line, const char *name)
{
	char *detail = deadlock->detail;
	const Size room = sizeof(deadlock->detail);
	const Size before = name == nullptr ? line.size : line.after_tag;

	if (detail[0] != '\0')
		Append(detail, room, "\n", 1);
	Append(detail, room, line.text, before);
	if (name != nullptr)
	{
		Append(detail, room, " (key \"", 7);
		Append(detail, room, name, strlen(name));
		Append(detail, room, "\")", 2);
	}
	Append(detail, room, line.text + before, line.size - before);
}

LOCKMODE ModeOf(const DeadlockLine &line)
{
	for (const LOCKMODE mode : kModesByStrength)
		if (HasWord(line, GetLockmodeName(USER_LOCKMETHOD, mode)))
			return mode;
	return NoLock;
}

void AddLine(Deadlock *deadlock, const DeadlockLine &line)
{
	ShownName name;
	const bool named = line.has_key && FindShownName(line.database, line.tag, &name);

	AppendLine(deadlock, line, named ? name.text : nullptr);
	if (line.has_key && deadlock->mode == NoLock)
	{
		deadlock->mode = ModeOf(line);
		deadlock->victim_waited = deadlock->sessions_in_cycle == 0;
		if (named)
			CopyClipped(deadlock->key, sizeof(deadlock->key), name.text);
	}
	if (deadlock->sessions < kMostDeadlockSessions)
		deadlock->session[deadlock->sessions++].pid = line.pid;
	deadlock->sessions_in_cycle++;
}

void FillSession(DeadlockSession *session, const PgBackendStatus &status)
{
	session->role = status.st_userid;
	if (status.st_appname != nullptr)
		strlcpy(session->application, status.st_appname, sizeof(session->application));
	/* Text of another database may be in another encoding. */
	if (status.st_databaseid == MyDatabaseId && status.st_activity_raw != nullptr)
		CopyClipped(session->query, sizeof(session->query), status.st_activity_raw);
}

void fill_sessions(Deadlock *deadlock)
{
	forget_backend_status_snapshot();
	for (int i = 1; i <= pgstat_fetch_stat_numbackends(); i++)
	{
		const PgBackendStatus *status = backend_status(i);

		if (status == nullptr)
			continue;
		for (int s = 0; s < deadlock->sessions; s++)
			if (deadlock->session[s].pid == status->st_procpid)
				FillSession(&deadlock->session[s], *status);
	}
}

/* Static because of its size; a session has one deadlock at a time. */
Deadlock current;

/* What deadlocks_not_yet_reported() was when the last deadlock was looked at. */
int64 looked_at;

void begin_deadlock()
{
	memset(&current, 0, sizeof(current));
	current.at = GetCurrentTimestamp();
	current.database = MyDatabaseId;
	current.encoding = GetDatabaseEncoding();
	looked_at = deadlocks_not_yet_reported();
}

void add_deadlock()
{
	fill_sessions(&current);
	deadlock_ring->Add(current);
}

/* Reads the error, and remembers it if a key took part. */
bool read_deadlock(const ErrorData *error)
{
	const char *text = error->detail;
	DeadlockLine line;

	begin_deadlock();
	while (text != nullptr && NextDeadlockLine(&text, &line))
		AddLine(&current, line);
	if (current.mode == NoLock)
		return false;
	add_deadlock();
	return true;
}

void log_hook(ErrorData *error)
{
	/* A detail for the log alone is what the deadlock detector writes, and no RAISE can. */
	if (error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED && error->elevel >= ERROR &&
		error->detail_log != nullptr && error->funcname != kRecordedBy &&
		deadlock_ring != nullptr && MyProc != nullptr)
		read_deadlock(error);
	if (former_log_hook != nullptr)
		former_log_hook(error);
}

/* Does this session hold that lock in a mode that keeps the other one waiting? */
bool KeepsWaiting(const LockData &locks, const LockInstanceData &waiter)
{
	for (int i = 0; i < locks.nelements; i++)
	{
		const LockInstanceData &mine = locks.locks[i];

		if (mine.pid != MyProcPid || memcmp(&mine.locktag, &waiter.locktag, sizeof(LOCKTAG)) != 0)
			continue;
		for (LOCKMODE mode = AccessShareLock; mode <= MaxLockMode; mode++)
			if ((mine.holdMask & LOCKBIT_ON(mode)) != 0 &&
				DoLockModesConflict(mode, waiter.waitLockMode))
				return true;
	}
	return false;
}

void AddWaiter(const LockInstanceData &waiter)
{
	char text[160];
	const LOCKTAG &tag = waiter.locktag;

	snprintf(text, sizeof(text),
			 "Process %d waits for %s on advisory lock [%u,%u,%u,%u]; blocked by process %d.",
			 waiter.pid, GetLockmodeName(USER_LOCKMETHOD, waiter.waitLockMode), tag.locktag_field1,
			 tag.locktag_field2, tag.locktag_field3, tag.locktag_field4, MyProcPid);

	const char *at = text;
	DeadlockLine line;

	if (NextDeadlockLine(&at, &line))
		AddLine(&current, line);
}

/* This session was the victim of a deadlock that nobody has looked at; its locks are still held. */
void record_unseen_deadlock()
{
	const LockData *locks = GetLockStatusData();
	char text[120];
	const char *at = text;
	DeadlockLine line;

	begin_deadlock();
	snprintf(text, sizeof(text),
			 "Process %d waited for something else than a key, and its error was not logged.",
			 MyProcPid);
	if (NextDeadlockLine(&at, &line))
		AddLine(&current, line);
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData &waiter = locks->locks[i];

		if (waiter.waitLockMode == NoLock || waiter.pid == MyProcPid ||
			!KeepsWaiting(*locks, waiter))
			continue;
		if (!IsKeyLock(waiter.locktag))
			return;
		AddWaiter(waiter);
	}
	if (current.mode != NoLock)
		add_deadlock();
}

/* Every deadlock error leads to a rollback, which comes after the error was logged, if it was. */
void look_for_unseen_deadlock()
{
	if (deadlock_ring == nullptr || proc_exit_inprogress)
		return;

	const int64 deadlocks = deadlocks_not_yet_reported();

	if (deadlocks > looked_at && count_held_keys(LONG_MAX) > 0)
		record_unseen_deadlock();
	looked_at = deadlocks;
}

void end_of_transaction(XactEvent event, [[maybe_unused]] void *arg)
{
	if (event == XACT_EVENT_ABORT)
		look_for_unseen_deadlock();
}

void end_of_subtransaction(SubXactEvent event, [[maybe_unused]] SubTransactionId self,
						   [[maybe_unused]] SubTransactionId parent, [[maybe_unused]] void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		look_for_unseen_deadlock();
	/* What was looked at may have been reported since, between two transactions. */
	else if (event == SUBXACT_EVENT_START_SUB && looked_at > 0)
		looked_at = deadlocks_not_yet_reported();
}

} // namespace

void record_deadlock(ErrorData *error)
{
	if (deadlock_ring == nullptr || !read_deadlock(error))
		return;
	error->funcname = kRecordedBy;

	/* The detail for the log begins with the one for the client; then come the queries. */
	const Size lines = strlen(error->detail);
	const bool complete = strlen(current.detail) < sizeof(current.detail) - MAX_MULTIBYTE_CHAR_LEN;

	if (complete && error->detail_log != nullptr &&
		strncmp(error->detail_log, error->detail, lines) == 0)
		error->detail_log = psprintf("%s%s", current.detail, error->detail_log + lines);
}

void watch_deadlocks()
{
	former_log_hook = emit_log_hook;
	emit_log_hook = log_hook;
	RegisterXactCallback(end_of_transaction, nullptr);
	RegisterSubXactCallback(end_of_subtransaction, nullptr);
}

} // namespace cs
