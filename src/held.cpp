/*
 * held.cpp - the notes on locks taken, and how they follow the lock manager.
 */
#include <algorithm>

#include "held.hpp"

namespace cs {

uint64 held_losses;

namespace {

struct TransactionLock
{
	KeyTag tag;
	uint32 order_class;
	LOCKMODE mode;
	int nest_level; /* of the (sub)transaction whose abort releases the lock */
};

/* The key of a hash table that compares byte by byte: without padding. */
struct SessionLockId
{
	uint32 field2;
	uint32 field3;
	uint32 field4;
	int32 mode;
};

struct SessionLock
{
	SessionLockId id;
	uint32 order_class;

	KeyTag Tag() const
	{
		return {id.field2, id.field3, static_cast<uint16_t>(id.field4)};
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

	settings.keysize = sizeof(SessionLockId);
	settings.entrysize = sizeof(SessionLock);
	settings.hcxt = TopMemoryContext;
	session_lock_table = hash_create("concurrency_safe session locks", kFirstCapacity, &settings,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

void note_session_lock(const LockRequest &request)
{
	if (session_lock_table == nullptr)
		create_session_lock_table();
	if (SessionLockCount() >= session_lock_check_at)
	{
		drop_stale_notes();
		session_lock_check_at = Max(kFirstCapacity, 2 * SessionLockCount());
	}

	const KeyTag &tag = request.key.tag;
	const SessionLockId id = {tag.field2, tag.field3, tag.field4, request.mode};
	bool found;
	auto *lock =
		static_cast<SessionLock *>(hash_search(session_lock_table, &id, HASH_ENTER, &found));

	if (!found || request.order_class != 0)
		lock->order_class = static_cast<uint32>(request.order_class);
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
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (transaction_lock_count > 0)
		held_losses++;
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
			ForgetLastTransactionLock();
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		for (int i = transaction_lock_count - 1; i >= 0 && transaction_locks[i].nest_level >= level;
			 i--)
			transaction_locks[i].nest_level = level - 1;
}

} // namespace

void watch_transactions()
{
	UnregisterXactCallback(end_of_transaction, nullptr); /* of an attempt that failed */
	RegisterXactCallback(end_of_transaction, nullptr);
	RegisterSubXactCallback(end_of_subtransaction, nullptr);
}

void prepare_note(const LockRequest &request, Scope scope)
{
	if (scope == Scope::kSession)
		note_session_lock(request);
	else if (transaction_lock_count == transaction_lock_capacity)
		grow_transaction_locks();
}

void NoteTransactionLock(const LockRequest &request)
{
	Assert(transaction_lock_count < transaction_lock_capacity);
	transaction_locks[transaction_lock_count++] = {request.key.tag,
												   static_cast<uint32>(request.order_class),
												   request.mode, GetCurrentTransactionNestLevel()};
}

void ForgetLastTransactionLock()
{
	Assert(transaction_lock_count > 0);
	transaction_lock_count--;
	held_losses++;
}

void drop_stale_notes()
{
	HASH_SEQ_STATUS scan;

	if (session_lock_table == nullptr)
		return;
	held_losses++;
	hash_seq_init(&scan, session_lock_table);
	while (auto *lock = static_cast<SessionLock *>(hash_seq_search(&scan)))
		if (!HeldByThisSession(LockTag(lock->Tag()), lock->id.mode))
			hash_search(session_lock_table, &lock->id, HASH_REMOVE, nullptr);
}

void VisitHeldKeys(void (*visit)(const HeldKey &, void *), void *arg)
{
	HASH_SEQ_STATUS scan;

	for (int i = 0; i < transaction_lock_count; i++)
	{
		const TransactionLock &lock = transaction_locks[i];

		visit({lock.tag, lock.mode, Scope::kTransaction, lock.order_class}, arg);
	}
	if (SessionLockCount() == 0)
		return;
	hash_seq_init(&scan, session_lock_table);
	while (auto *lock = static_cast<SessionLock *>(hash_seq_search(&scan)))
		if (HeldByThisSession(LockTag(lock->Tag()), lock->id.mode))
			visit({lock->Tag(), lock->id.mode, Scope::kSession, lock->order_class}, arg);
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
	drop_stale_notes();

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
