/*
 * parties.cpp - the lock table joined with the status of the backends.
 */
#include <algorithm>
#include <bit>

#include "lock_tag.hpp"
#include "parties.hpp"
#include "wait_queue.hpp"

namespace cs {

namespace {

void add_party(Parties &parties, const LockInstanceData &instance, LOCKMODE mode, bool granted)
{
	parties.all[parties.count++] = {instance.locktag.locktag_field1,
									TagOfKeyLock(instance.locktag),
									instance.pid,
									mode,
									granted,
									false,
									granted ? 0 : instance.waitStart,
									nullptr};
}

bool IsPermitQueue(const LOCKTAG &tag)
{
	const KeyTag key = TagOfKeyLock(tag);
	const LOCKTAG queue = PermitQueue(key, tag.locktag_field1);

	return key.field4 >= 0x8000 && memcmp(&tag, &queue, sizeof(tag)) == 0;
}

/* All in the queue wait, the first one too. Other side locks may have the same tag. */
void add_in_queue(Parties &parties, const LockInstanceData &instance)
{
	const bool first = (instance.holdMask & LOCKBIT_ON(kFirstInQueue)) != 0;

	if (!first && instance.waitLockMode != kFirstInQueue)
		return;
	add_party(parties, instance, kPermit, false);
	parties.all[parties.count - 1].first_in_queue = first;
	parties.all[parties.count - 1].wait_start = instance.waitStart;
}

void add_holds_and_wait(Parties &parties, const LockInstanceData &instance)
{
	for (const LOCKMODE mode : kModesByStrength)
		if (instance.holdMask & LOCKBIT_ON(mode))
			add_party(parties, instance, mode, true);
	if (instance.waitLockMode != NoLock)
		add_party(parties, instance, instance.waitLockMode, false);
}

Session session_from_status(const PgBackendStatus &status)
{
	const char *role_name = GetUserNameFromId(status.st_userid, true);
	Session session = {};

	session.pid = status.st_procpid;
	session.role = status.st_userid;
	if (role_name != nullptr)
		namestrcpy(&session.role_name, role_name);
	/* With track_activities off the session tells neither state nor times. */
	session.active = status.st_state != STATE_UNDEFINED && status.st_state != STATE_DISABLED;
	session.transaction_start = status.st_xact_start_timestamp;
	session.state_change = status.st_state_start_timestamp;
	if (status.st_appname != nullptr)
		strlcpy(session.application, status.st_appname, sizeof(session.application));
	return session;
}

/* The pids of the parties, sorted, each once; returns their number. */
int distinct_pids(const Parties &parties, int *pids)
{
	for (int i = 0; i < parties.count; i++)
		pids[i] = parties.all[i].pid;
	std::sort(pids, pids + parties.count);
	return static_cast<int>(std::unique(pids, pids + parties.count) - pids);
}

/* Looks each session up once, however many locks it holds. */
void add_sessions(Parties &parties)
{
	auto *pids = static_cast<int *>(MemoryContextAllocHuge(
		CurrentMemoryContext, static_cast<Size>(parties.count) * sizeof(int)));
	const int count = distinct_pids(parties, pids);
	auto *sessions = static_cast<Session *>(palloc0(static_cast<Size>(count) * sizeof(Session)));

	/* The picture taken by an earlier statement of this transaction is too old. */
	forget_backend_status_snapshot();
	for (int i = 1; i <= pgstat_fetch_stat_numbackends(); i++)
	{
		const PgBackendStatus *status = backend_status(i);
		const int *pid = status == nullptr
							 ? pids + count
							 : std::lower_bound(pids, pids + count, status->st_procpid);

		if (pid != pids + count && *pid == status->st_procpid)
			sessions[pid - pids] = session_from_status(*status);
	}
	for (int i = 0; i < parties.count; i++)
	{
		Party &party = parties.all[i];
		const Session &session = sessions[std::lower_bound(pids, pids + count, party.pid) - pids];

		if (party.pid != 0 && session.pid == party.pid)
			party.session = &session;
	}
	pfree(pids);
}

/* Those whose lock tag passes. */
template <typename Predicate> Parties collect_if(Predicate wanted)
{
	const LockData *locks = GetLockStatusData();
	Size most = 1;

	/* Every mode that is held, and one that is waited for. */
	for (int i = 0; i < locks->nelements; i++)
		if (wanted(locks->locks[i].locktag))
			most +=
				static_cast<Size>(std::popcount(static_cast<unsigned>(locks->locks[i].holdMask))) +
				1;

	Parties parties = {
		static_cast<Party *>(MemoryContextAllocHuge(CurrentMemoryContext, most * sizeof(Party))),
		0};

	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData &instance = locks->locks[i];

		if (!wanted(instance.locktag))
			continue;
		if (IsPermitQueue(instance.locktag))
			add_in_queue(parties, instance);
		else
			add_holds_and_wait(parties, instance);
	}
	if (parties.count > 0)
		add_sessions(parties);
	return parties;
}

} // namespace

Parties collect_parties(const KeyTag &tag)
{
	const LOCKTAG key_lock = LockTag(tag);
	const LOCKTAG queue = PermitQueue(tag);

	return collect_if([&](const LOCKTAG &lock) {
		return memcmp(&lock, &key_lock, sizeof(lock)) == 0 ||
			   memcmp(&lock, &queue, sizeof(lock)) == 0;
	});
}

Parties collect_all_parties()
{
	return collect_if([](const LOCKTAG &lock) {
		return IsKeyLock(lock) || IsPermitQueue(lock);
	});
}

bool may_see_activity_of(Oid role)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		   has_privs_of_role(GetUserId(), role);
}

} // namespace cs
