/*
 * parties.cpp - the lock table joined with the status of the backends.
 */
#include "parties.hpp"
#include "held.hpp"

namespace cs {

namespace {

void add_party(Parties &parties, const LockInstanceData &instance, LOCKMODE mode, bool granted)
{
	Party &party = parties.all[parties.count++];

	memset(&party, 0, sizeof(party));
	party.pid = instance.pid;
	party.mode = mode;
	party.granted = granted;
	party.wait_start = granted ? 0 : instance.waitStart;
}

void fill_from_status(Party &party, const PgBackendStatus &status)
{
	const char *role_name = GetUserNameFromId(status.st_userid, true);

	/* With track_activities off the session tells neither state nor times. */
	party.known = status.st_state != STATE_UNDEFINED && status.st_state != STATE_DISABLED;
	party.role = status.st_userid;
	if (role_name != nullptr)
		namestrcpy(&party.role_name, role_name);
	party.transaction_start = status.st_xact_start_timestamp;
	party.state_change = status.st_state_start_timestamp;
	if (status.st_appname != nullptr)
		strlcpy(party.application, status.st_appname, sizeof(party.application));
}

void add_what_is_known(Parties &parties)
{
	/* The picture taken by an earlier statement of this transaction is too old. */
	forget_backend_status_snapshot();

	for (int i = 1; i <= pgstat_fetch_stat_numbackends(); i++)
	{
		const PgBackendStatus *status = backend_status(i);

		if (status == nullptr)
			continue;
		for (int p = 0; p < parties.count; p++)
			if (parties.all[p].pid != 0 && parties.all[p].pid == status->st_procpid)
				fill_from_status(parties.all[p], *status);
	}
}

} // namespace

Parties collect_parties(const KeyTag &tag)
{
	const LOCKTAG lock_tag = LockTag(tag);
	const LockData *locks = GetLockStatusData();
	int matching = 0;

	for (int i = 0; i < locks->nelements; i++)
		if (memcmp(&locks->locks[i].locktag, &lock_tag, sizeof(lock_tag)) == 0)
			matching++;

	/* Each session holds at most every mode, and waits for one. */
	const Size most = static_cast<Size>(matching) * (lengthof(kModesByStrength) + 1);
	Parties parties = {static_cast<Party *>(palloc(most * sizeof(Party))), 0};

	for (int i = 0; i < locks->nelements && matching > 0; i++)
	{
		const LockInstanceData &instance = locks->locks[i];

		if (memcmp(&instance.locktag, &lock_tag, sizeof(lock_tag)) != 0)
			continue;
		for (const LOCKMODE mode : kModesByStrength)
			if (instance.holdMask & LOCKBIT_ON(mode))
				add_party(parties, instance, mode, true);
		if (instance.waitLockMode != NoLock)
			add_party(parties, instance, instance.waitLockMode, false);
	}
	if (parties.count > 0)
		add_what_is_known(parties);
	return parties;
}

bool may_see_activity_of(Oid role)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		   has_privs_of_role(GetUserId(), role);
}

} // namespace cs
