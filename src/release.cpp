/*
 * release.cpp - the end of a hold, and who has to know of it.
 */
#include "release.hpp"
#include "freshness.hpp"
#include "held.hpp"
#include "lock_tag.hpp"

namespace cs {

namespace {

void release_all_of(const HeldKey &key, void *arg)
{
	if (key.scope == Scope::kSession)
		while (release_session_lock(key.tag, key.mode))
			++*static_cast<int *>(arg);
}

} // namespace

bool release_session_lock(const KeyTag &tag, LOCKMODE mode)
{
	const LOCKTAG lock_tag = LockTag(tag);

	if (session_holds(tag, mode) == 0)
		return false;
	note_early_release(tag, mode);
	if (!LockRelease(&lock_tag, mode, true))
		return false;
	held_losses++;
	/* What is left may be a lock in transaction scope, that was taken again and not counted. */
	if (directory != nullptr && HeldByThisSession(lock_tag, mode))
		directory->ForgetScope(MyDatabaseId, tag, MyProcPid);
	return true;
}

int release_all_session_locks()
{
	int released = 0;

	VisitHeldKeys(release_all_of, &released);
	drop_stale_notes();
	return released;
}

} // namespace cs
