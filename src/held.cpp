/*
 * held.cpp - the notes on locks taken, and how they follow the lock manager.
 */
#include <algorithm>

#include "held.hpp"

namespace cs {

namespace {

struct TransactionLock
{
	KeyTag tag;
	LOCKMODE mode;
	int nest_level; /* of the (sub)transaction whose abort releases the lock */
};

/* Without padding: the hash table compares its keys byte by byte. */
struct SessionLockId
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

struct SessionLock
{
	SessionLockId id; /* hash key, must be first */
	int64 count;      /* 0: not granted, or held in transaction scope alone */
};

constexpr int kFirstCapacity = 64;
/* Never shrinks, as the lock manager's own table of local locks, which is far larger. */
TransactionLock *transaction_locks = nullptr;
int transaction_lock_count = 0;
int transaction_lock_capacity = 0;

HTAB *session_lock_table = nullptr;
/* The table is checked against the lock manager when it grows beyond this. */
long session_lock_check_at = kFirstCapacity;

SessionLockId MakeSessionLockId(const KeyTag &tag, LOCKMODE mode)
{
	return {tag.field2, tag.field3, tag.field4, mode};
}

long SessionLockCount()
{
	return session_lock_table == nullptr ? 0 : hash_get_num_entries(session_lock_table);
}

SessionLock *FindSessionLock(const KeyTag &tag, LOCKMODE mode)
{
	if (SessionLockCount() == 0)
		return nullptr;
	const SessionLockId id = MakeSessionLockId(tag, mode);

	return static_cast<SessionLock *>(hash_search(session_lock_table, &id, HASH_FIND, nullptr));
}

void create_session_lock_table()
{
	HASHCTL settings = {};

	settings.keysize = sizeof(SessionLockId);
	settings.entrysize = sizeof(SessionLock);
	settings.hcxt = TopMemoryContext;
	session_lock_table = hash_create("concurrency_safe session locks", kFirstCapacity, &settings,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Drops the notes on session locks that somebody released without telling us. */
void DropStaleSessionLocks()
{
	HASH_SEQ_STATUS scan;

	if (session_lock_table == nullptr)
		return;
	hash_seq_init(&scan, session_lock_table);
	while (auto *lock = static_cast<SessionLock *>(hash_seq_search(&scan)))
		if (!HeldByThisSession(LockTag(lock->id.Tag()), lock->id.mode))
			hash_search(session_lock_table, &lock->id, HASH_REMOVE, nullptr);
}

void reserve_session_note(const KeyTag &tag, LOCKMODE mode)
{
	if (session_lock_table == nullptr)
		create_session_lock_table();
	if (SessionLockCount() >= session_lock_check_at)
	{
		DropStaleSessionLocks();
		session_lock_check_at = Max(kFirstCapacity, 2 * SessionLockCount());
	}

	const SessionLockId id = MakeSessionLockId(tag, mode);
	bool found;
	auto *lock =
		static_cast<SessionLock *>(hash_search(session_lock_table, &id, HASH_ENTER, &found));

	if (!found)
		lock->count = 0;
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

LOCKTAG LockTag(const KeyTag &tag)
{
	LOCKTAG lock_tag;

	SET_LOCKTAG_ADVISORY(lock_tag, MyDatabaseId, tag.field2, tag.field3, tag.field4);
	return lock_tag;
}

void watch_transactions()
{
	RegisterXactCallback(end_of_transaction, nullptr);
	RegisterSubXactCallback(end_of_subtransaction, nullptr);
}

void reserve_note(const KeyTag &tag, LOCKMODE mode, Scope scope)
{
	if (scope == Scope::kSession)
		reserve_session_note(tag, mode);
	else if (transaction_lock_count == transaction_lock_capacity)
		grow_transaction_locks();
}

void NoteTransactionLock(const KeyTag &tag, LOCKMODE mode)
{
	Assert(transaction_lock_count < transaction_lock_capacity);
	transaction_locks[transaction_lock_count++] = {tag, mode, GetCurrentTransactionNestLevel()};

	/* It was not held in any scope: a note on session locks is out of date. */
	if (SessionLock *released = FindSessionLock(tag, mode))
		released->count = 0;
}

void ForgetLastTransactionLock()
{
	Assert(transaction_lock_count > 0);
	transaction_lock_count--;
}

void NoteSessionLock(const KeyTag &tag, LOCKMODE mode, bool first)
{
	SessionLock *lock = FindSessionLock(tag, mode);

	lock->count = first ? 1 : lock->count + 1;
}

bool HeldInSessionScope(const KeyTag &tag, LOCKMODE mode)
{
	const SessionLock *lock = FindSessionLock(tag, mode);

	return lock != nullptr && lock->count > 0 && HeldByThisSession(LockTag(tag), mode);
}

bool release_session_lock(const KeyTag &tag, LOCKMODE mode)
{
	if (!HeldInSessionScope(tag, mode))
		return false;

	const LOCKTAG lock_tag = LockTag(tag);
	SessionLock *lock = FindSessionLock(tag, mode);
	const bool released = LockRelease(&lock_tag, mode, true);

	lock->count = released ? lock->count - 1 : 0;
	if (!HeldByThisSession(lock_tag, mode))
		hash_search(session_lock_table, &lock->id, HASH_REMOVE, nullptr);
	return released;
}

int release_all_session_locks()
{
	HASH_SEQ_STATUS scan;
	int released = 0;

	if (session_lock_table == nullptr)
		return 0;
	hash_seq_init(&scan, session_lock_table);
	while (auto *lock = static_cast<SessionLock *>(hash_seq_search(&scan)))
	{
		const SessionLockId id = lock->id;

		while (release_session_lock(id.Tag(), id.mode))
			released++;
	}
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

long count_held_keys(long enough)
{
	const long noted = transaction_lock_count + SessionLockCount();

	if (noted <= enough)
		return noted;
	DropStaleSessionLocks();

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
			*end++ = lock->id.Tag();
	}
	std::sort(tags, end);
	const long keys = std::unique(tags, end) - tags;

	pfree(tags);
	return keys;
}

} // namespace cs
