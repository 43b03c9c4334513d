/*
 * held.cpp - the notes on locks taken, and how they follow the lock manager.
 */
#include <algorithm>

#include "held.hpp"
#include "shared_memory.hpp"

namespace cs {

namespace {

struct TransactionLock
{
	KeyTag tag;
	LOCKMODE mode;
	int nest_level; /* of the (sub)transaction whose abort releases the lock */
};

/* An entry of a hash table that compares byte by byte: without padding. */
struct SessionLock
{
	uint32 field2;
	uint32 field3;
	uint32 field4;
	int32 mode;

	KeyTag Tag() const
	{
		return {field2, field3, static_cast<uint16_t>(field4)};
	}
};

constexpr int kFirstCapacity = 64;
/* Never shrinks, as the lock manager's own table of local locks, which is far larger. */
TransactionLock *transaction_locks = nullptr;
int transaction_lock_count = 0;
int transaction_lock_capacity = 0;

HTAB *session_lock_table = nullptr;
/* The table is checked against the lock manager when it grows beyond this. */
long session_lock_check_at = kFirstCapacity;

long SessionLockCount()
{
	return session_lock_table == nullptr ? 0 : hash_get_num_entries(session_lock_table);
}

void create_session_lock_table()
{
	HASHCTL settings = {};

	settings.keysize = sizeof(SessionLock);
	settings.entrysize = sizeof(SessionLock);
	settings.hcxt = TopMemoryContext;
	session_lock_table = hash_create("concurrency_safe session locks", kFirstCapacity, &settings,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Drops the notes on session locks that somebody released without telling us. */
void drop_stale_session_locks()
{
	HASH_SEQ_STATUS scan;

	if (session_lock_table == nullptr)
		return;
	hash_seq_init(&scan, session_lock_table);
	while (auto *lock = static_cast<SessionLock *>(hash_seq_search(&scan)))
		if (!HeldByThisSession(LockTag(lock->Tag()), lock->mode))
			hash_search(session_lock_table, lock, HASH_REMOVE, nullptr);
}

void note_session_lock(const KeyTag &tag, LOCKMODE mode)
{
	if (session_lock_table == nullptr)
		create_session_lock_table();
	if (SessionLockCount() >= session_lock_check_at)
	{
		drop_stale_session_locks();
		session_lock_check_at = Max(kFirstCapacity, 2 * SessionLockCount());
	}

	const SessionLock lock = {tag.field2, tag.field3, tag.field4, mode};

	hash_search(session_lock_table, &lock, HASH_ENTER, nullptr);
}

void grow_transaction_locks()
{
	if (transaction_lock_capacity > INT_MAX / 2)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("too many keys locked by this transaction")));
	const int capacity = Max(kFirstCapacity, 2 * transaction_lock_capacity);
	const Size size = static_cast<Size>(capacity) * sizeof(TransactionLock);

	transaction_locks = static_cast<TransactionLock *>(
		transaction_locks == nullptr ? MemoryContextAlloc(TopMemoryContext, size)
									 : repalloc_huge(transaction_locks, size));
	transaction_lock_capacity = capacity;
}

void end_of_transaction(XactEvent event, [[maybe_unused]] void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		transaction_lock_count = 0;
}

/* An abort releases what its level took; a commit hands it to the level above. */
void end_of_subtransaction(SubXactEvent event, [[maybe_unused]] SubTransactionId self,
						   [[maybe_unused]] SubTransactionId parent, [[maybe_unused]] void *arg)
{
	const int level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB)
		while (transaction_lock_count > 0 &&
			   transaction_locks[transaction_lock_count - 1].nest_level >= level)
			transaction_lock_count--;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		for (int i = transaction_lock_count - 1; i >= 0 && transaction_locks[i].nest_level >= level;
			 i--)
			transaction_locks[i].nest_level = level - 1;
}

} // namespace

void watch_transactions()
{
	RegisterXactCallback(end_of_transaction, nullptr);
	RegisterSubXactCallback(end_of_subtransaction, nullptr);
}

void prepare_note(const KeyTag &tag, LOCKMODE mode, Scope scope)
{
	if (scope == Scope::kSession)
		note_session_lock(tag, mode);
	else if (transaction_lock_count == transaction_lock_capacity)
		grow_transaction_locks();
}

void NoteTransactionLock(const KeyTag &tag, LOCKMODE mode)
{
	Assert(transaction_lock_count < transaction_lock_capacity);
	transaction_locks[transaction_lock_count++] = {tag, mode, GetCurrentTransactionNestLevel()};
}

void ForgetLastTransactionLock()
{
	Assert(transaction_lock_count > 0);
	transaction_lock_count--;
}

/*
 * The lock manager hands out its local record of a lock, with the holds by
 * owner, to whoever takes it once more; the session itself is the owner null.
 */
int64 session_holds(const KeyTag &tag, LOCKMODE mode)
{
	const LOCKTAG lock_tag = LockTag(tag);
	LOCALLOCK *record = nullptr;
	int64 holds = 0;

	if (!HeldByThisSession(lock_tag, mode))
		return 0;
	lock_acquire(lock_tag, mode, false, true, &record);
	for (int i = 0; i < record->numLockOwners; i++)
		if (record->lockOwners[i].owner == nullptr)
			holds = record->lockOwners[i].nLocks;
	LockRelease(&lock_tag, mode, false);
	return holds;
}

bool release_session_lock(const KeyTag &tag, LOCKMODE mode)
{
	const LOCKTAG lock_tag = LockTag(tag);

	if (session_holds(tag, mode) == 0 || !LockRelease(&lock_tag, mode, true))
		return false;
	/* What is left may be a lock in transaction scope, that was taken again and not counted. */
	if (directory != nullptr && HeldByThisSession(lock_tag, mode))
		directory->ForgetScope(MyDatabaseId, tag, MyProcPid);
	return true;
}

int release_all_session_locks()
{
	HASH_SEQ_STATUS scan;
	int released = 0;

	if (session_lock_table == nullptr)
		return 0;
	hash_seq_init(&scan, session_lock_table);
	while (auto *lock = static_cast<SessionLock *>(hash_seq_search(&scan)))
		while (release_session_lock(lock->Tag(), lock->mode))
			released++;
	drop_stale_session_locks();
	return released;
}

LOCKMODE StrongestHeldMode(const KeyTag &tag)
{
	const LOCKTAG lock_tag = LockTag(tag);

	for (const LOCKMODE mode : kModesByStrength)
		if (HeldByThisSession(lock_tag, mode))
			return mode;
	return NoLock;
}

bool MayHoldKeys()
{
	return transaction_lock_count > 0 || SessionLockCount() > 0;
}

long count_held_keys(long enough)
{
	const long noted = transaction_lock_count + SessionLockCount();

	if (noted <= enough)
		return noted;
	drop_stale_session_locks();

	const long most = transaction_lock_count + SessionLockCount();
	auto *tags = static_cast<KeyTag *>(
		MemoryContextAllocHuge(CurrentMemoryContext, static_cast<Size>(most) * sizeof(KeyTag)));
	KeyTag *end = tags;

	for (int i = 0; i < transaction_lock_count; i++)
		*end++ = transaction_locks[i].tag;
	if (SessionLockCount() > 0)
	{
		HASH_SEQ_STATUS scan;

		hash_seq_init(&scan, session_lock_table);
		while (auto *lock = static_cast<SessionLock *>(hash_seq_search(&scan)))
			*end++ = lock->Tag();
	}
	std::sort(tags, end);
	const long keys = std::unique(tags, end) - tags;

	pfree(tags);
	return keys;
}

} // namespace cs
