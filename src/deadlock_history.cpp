/*
 * deadlock_history.cpp - from a deadlock error to an entry of the ring.
 *
 * No catalog is read here: parts of this run while an error is being reported.
 * Whoever reads an entry looks the names of roles up.
 */
#include "deadlock_history.hpp"
#include "deadlock_entry.hpp"
#include "held.hpp"
#include "lock_tag.hpp"
#include "printable.hpp"
#include "quietly.hpp"
#include "shared_memory.hpp"

namespace cs {

int64 deadlocks_looked_at = -1;

namespace {

emit_log_hook_type former_log_hook;

/* Static because of their size; a session has one deadlock at a time. */
Deadlock current;

/* What a rollback found; the error may still be raised again, and then be logged. */
Deadlock unseen;
bool unseen_is_pending;

/* How the last error that came from the lock room in this transaction began; it may be logged. */
char recorded[128];

void AddUnseen()
{
	if (unseen_is_pending)
		deadlock_ring->Add(unseen);
	unseen_is_pending = false;
}

/* Remembers the deadlock of this error if a key took part. */
void record_error(const ErrorData *error, const char *key)
{
	const int64 deadlocks = deadlocks_not_yet_reported();

	/* The error that a rollback has met came back: it tells more than was seen then. */
	if (deadlocks == deadlocks_looked_at)
		unseen_is_pending = false;
	AddUnseen();
	deadlocks_looked_at = deadlocks;
	if (!ReadDeadlock(error->detail, key, &current))
		return;
	fill_sessions(&current);
	deadlock_ring->Add(current);
}

bool IsFromLockRoom(const ErrorData *error)
{
	return recorded[0] != '\0' && error->detail != nullptr &&
		   strncmp(error->detail, recorded, strlen(recorded)) == 0;
}

void log_hook(ErrorData *error)
{
	/* A detail for the log alone is what the deadlock detector writes, and no RAISE can. */
	if (error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED && error->elevel >= ERROR &&
		error->detail_log != nullptr && deadlock_ring != nullptr && MyProc != nullptr &&
		!IsFromLockRoom(error))
		record_error(error, nullptr);
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

/* This session was the victim of a deadlock that nobody has looked at; its locks are still held. */
void read_unseen()
{
	const LockData *locks = GetLockStatusData();

	BeginDeadlock(&unseen);
	AddVictimOfUnseen(&unseen);
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData &waiter = locks->locks[i];

		if (waiter.waitLockMode == NoLock || waiter.pid == MyProcPid ||
			!KeepsWaiting(*locks, waiter))
			continue;
		if (!IsKeyLock(waiter.locktag))
			return;
		AddWaiter(&unseen, waiter);
	}
	fill_sessions(&unseen);
	unseen_is_pending = unseen.mode != NoLock;
}

/* Every deadlock error leads to a rollback, which comes after the error was logged, if it was. */
void look_for_unseen([[maybe_unused]] void *arg)
{
	const int64 deadlocks = deadlocks_not_yet_reported();
	const bool grown = deadlocks > deadlocks_looked_at;

	deadlocks_looked_at = deadlocks;
	if (!grown || !MayHoldKeys())
		return;
	AddUnseen();
	read_unseen();
}

void LookForUnseen()
{
	if (deadlock_ring != nullptr && deadlocks_looked_at >= 0 && !proc_exit_inprogress)
		RunQuietly(look_for_unseen, nullptr);
}

void end_of_transaction(XactEvent event, [[maybe_unused]] void *arg)
{
	if (event == XACT_EVENT_ABORT)
		LookForUnseen();
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
	{
		AddUnseen();
		recorded[0] = '\0';
	}
}

void end_of_subtransaction(SubXactEvent event, [[maybe_unused]] SubTransactionId self,
						   [[maybe_unused]] SubTransactionId parent, [[maybe_unused]] void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		LookForUnseen();
	else if (event == SUBXACT_EVENT_START_SUB && deadlocks_looked_at > 0)
		deadlocks_looked_at = deadlocks_not_yet_reported();
}

struct LockRoomError
{
	ErrorData *error;
	const Key *key;
};

void record_error_of_lock_room(void *arg)
{
	const auto *from = static_cast<const LockRoomError *>(arg);
	ErrorData *error = from->error;

	strlcpy(recorded, error->detail == nullptr ? "" : error->detail, sizeof(recorded));
	record_error(error, printable(from->key->bytes, from->key->size));
	if (error->detail == nullptr || error->detail_log == nullptr || !HasWholeDetail(current))
		return;

	/* The detail for the log begins with the one for the client; then come the queries. */
	const Size lines = strlen(error->detail);

	if (strncmp(error->detail_log, error->detail, lines) == 0)
		error->detail_log = psprintf("%s%s", current.detail, error->detail_log + lines);
}

} // namespace

void RecordDeadlock(ErrorData *error, const Key &key)
{
	LockRoomError from = {error, &key};

	if (deadlock_ring != nullptr)
		RunQuietly(record_error_of_lock_room, &from);
}

void LookAtDeadlocksSoFar()
{
	if (deadlock_ring != nullptr)
		deadlocks_looked_at = deadlocks_not_yet_reported();
}

void watch_deadlocks()
{
	UnregisterXactCallback(end_of_transaction, nullptr); /* of an attempt that failed */
	RegisterXactCallback(end_of_transaction, nullptr);
	RegisterSubXactCallback(end_of_subtransaction, nullptr);
	former_log_hook = emit_log_hook;
	emit_log_hook = log_hook;
}

} // namespace cs
