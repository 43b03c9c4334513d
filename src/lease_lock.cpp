/*
 * lease_lock.cpp - the side locks of a lease: taken, counted, given back.
 */
#include "lease_lock.hpp"
#include "held.hpp"
#include "lock.hpp"
#include "printable.hpp"
#include "settings.hpp"
#include "wait_error.hpp"

namespace cs {

namespace {

/* Leases have a seed of their own, so that their locks are not those of permits. */
constexpr uint64 kLeaseSeed = 0x6c65617365;

/* What is noted of a lease is its number alone: it is held in none of a key's modes. */
LockRequest NoteOf(const Lease &lease)
{
	Key key = lease.key;

	key.tag = {lease.lock.locktag_field2, lease.lock.locktag_field3, lease.lock.locktag_field4};
	return MakeRequest(key, NoLock);
}

} // namespace

Lease LeaseOf(const Key &key)
{
	const KeyTag tag = MakeKey(key.bytes, key.size, GetSystemIdentifier() ^ kLeaseSeed).tag;

	return {key, SideLockTag(tag, tag.field4), SideLockTag(tag, 0)};
}

bool take_lease_lock(const Lease &lease, LOCKMODE mode, TimeBudget &budget, bool keep_transaction)
{
	const LockRequest note = NoteOf(lease);
	const bool is_new = !HasLeaseLock(lease, kCheck);

	if (is_new)
	{
		prepare_to_lock(&note, 1);
		prepare_note(note, Scope::kTransaction);
	}
	if (!take_or_wait({lease.lock, mode, false, lease.key}, budget, keep_transaction))
		return false;
	if (is_new)
		NoteTransactionLock(note);
	return true;
}

void release_lease_lock(const Lease &lease, LOCKMODE mode)
{
	release_early(lease.lock, mode);
	if (!HasLeaseLock(lease, kCheck))
		ForgetLastTransactionLock();
}

bool HasLeaseLock(const Lease &lease, LOCKMODE mode)
{
	constexpr LOCKMODE modes[] = {kCheck, kRenew, kGrant};

	for (const LOCKMODE held : modes)
		if (held >= mode && HeldByThisSession(lease.lock, held))
			return true;
	return false;
}

void require_lease_lock(const Lease &lease, LOCKMODE mode)
{
	TimeBudget budget(default_timeout);
	const int limit_ms = default_timeout < 0 ? LockTimeout : default_timeout;

	if (HasLeaseLock(lease, mode) || take_lease_lock(lease, mode, budget, false))
		return;
	if (lease.key.size == 0)
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						errmsg("could not lock the list of leases within %d ms", limit_ms),
						errdetail("A transaction that was granted the first lease, or removed "
								  "expired ones, has not ended.")));
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not lock the lease of key \"%s\" within %d ms",
					printable(lease.key.bytes, lease.key.size), limit_ms),
			 errdetail("A transaction that was granted the lease, renewed or released it, or "
					   "checked its token, has not ended.")));
}

void describe_lease(void *arg)
{
	const Key &key = static_cast<const Lease *>(arg)->key;

	errcontext("lease of key \"%s\"", printable(key.bytes, key.size));
	hint_at_lock_table();
}

} // namespace cs
