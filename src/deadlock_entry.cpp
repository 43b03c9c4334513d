/*
 * deadlock_entry.cpp - text and sessions of a deadlock, clipped to their room.
 */
#include "deadlock_entry.hpp"
#include "deadlock_text.hpp"
#include "key_name.hpp"
#include "lock_mode.hpp"
#include "lock_tag.hpp"

namespace cs {

namespace {

/* Appends as many whole and valid characters as there is room for. */
void Append(char *to, Size room, const char *from, Size size)
{
	const int encoding = GetDatabaseEncoding();
	const Size used = strlen(to);
	/* The server cuts some of its text in the middle of a character. */
	const int valid = pg_encoding_verifymbstr(encoding, from, static_cast<int>(size));
	const auto fitting = static_cast<Size>(pg_encoding_mbcliplen(
		encoding, from, valid, Min(valid, static_cast<int>(room - 1 - used))));

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

void AddLine(Deadlock *deadlock, const DeadlockLine &line, const char *key)
{
	ShownName shown;
	/* Of a long key the beginning, which the directory has, is enough for the detail. */
	const char *name =
		line.has_key && FindShownName(line.database, line.tag, &shown) ? shown.text : key;

	AppendLine(deadlock, line, line.has_key ? name : nullptr);
	if (line.has_key && deadlock->mode == NoLock)
	{
		const char *whole = key != nullptr ? key : name;

		deadlock->mode = ModeOf(line);
		deadlock->victim_waited = deadlock->sessions_in_cycle == 0;
		if (whole != nullptr)
			Append(deadlock->key, sizeof(deadlock->key), whole, strlen(whole));
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
	session->query[0] = '\0';
	if (status.st_databaseid == MyDatabaseId && status.st_activity_raw != nullptr)
		Append(session->query, sizeof(session->query), status.st_activity_raw,
			   strlen(status.st_activity_raw));
}

} // namespace

void BeginDeadlock(Deadlock *deadlock)
{
	memset(deadlock, 0, sizeof(*deadlock));
	deadlock->at = GetCurrentTimestamp();
	deadlock->encoding = GetDatabaseEncoding();
}

bool ReadDeadlock(const char *detail, const char *key, Deadlock *deadlock)
{
	DeadlockLine line;

	BeginDeadlock(deadlock);
	while (detail != nullptr && NextDeadlockLine(&detail, &line))
		AddLine(deadlock, line, deadlock->sessions_in_cycle == 0 ? key : nullptr);
	return deadlock->mode != NoLock;
}

void AddVictimOfUnseen(Deadlock *deadlock)
{
	char text[120];

	snprintf(text, sizeof(text),
			 "Process %d waited for something else than a key, and its error was not logged.",
			 MyProcPid);
	AddLine(deadlock, {text, strlen(text), MyProcPid, false, 0, {}, 0}, nullptr);
}

void AddWaiter(Deadlock *deadlock, const LockInstanceData &waiter)
{
	const LOCKTAG &tag = waiter.locktag;
	char text[160];

	snprintf(text, sizeof(text),
			 "Process %d waits for %s on advisory lock [%u,%u,%u,%u]; blocked by process %d.",
			 waiter.pid, GetLockmodeName(USER_LOCKMETHOD, waiter.waitLockMode), tag.locktag_field1,
			 tag.locktag_field2, tag.locktag_field3, tag.locktag_field4, MyProcPid);
	AddLine(deadlock,
			{text, strlen(text), waiter.pid, true, tag.locktag_field1, TagOfKeyLock(tag),
			 static_cast<size_t>(strchr(text, ']') + 1 - text)},
			nullptr);
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

bool HasWholeDetail(const Deadlock &deadlock)
{
	return strlen(deadlock.detail) < sizeof(deadlock.detail) - MAX_MULTIBYTE_CHAR_LEN;
}

} // namespace cs
