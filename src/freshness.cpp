/*
 * freshness.cpp - who wrote under which key, and who does not see it.
 *
 * Writers are entered after their commit is visible to new snapshots and before
 * their locks are released: so only what was committed counts, and nobody can
 * be granted the key in between. A prepared transaction is entered when it is
 * prepared, because whoever commits it may not have this library.
 */
#include "freshness.hpp"
#include "held.hpp"
#include "lock_tag.hpp"
#include "printable.hpp"
#include "statement.hpp"
#include "written.hpp"

namespace cs {

namespace {

/* The end of this transaction, from when it begins to when it is over. */
struct End
{
	FullTransactionId xid; /* invalid: it wrote nothing, or holds nothing */
	uint64 began;
};

End end;

bool MayWriteBelow(LOCKMODE mode)
{
	return mode == kExclusive || mode == kSharedIntentExclusive || mode == kIntentExclusive;
}

/* What holds the key in that mode reads what is below it, too. */
bool ReadsBelow(LOCKMODE mode)
{
	return mode == kExclusive || mode == kSharedIntentExclusive || mode == kShared;
}

void EnterKey(const HeldKey &held, void *ended)
{
	if (MayWriteBelow(held.mode))
		last_writers->Enter(MakeWriterKey(held.tag), end.xid, held.mode != kExclusive, end.began,
							*static_cast<const uint64 *>(ended));
}

/* Errors are still allowed. */
void begin_end()
{
	if (last_writers == nullptr || !MayHoldKeys() || !has_written())
		return;
	end.began = last_writers->Clock();
	end.xid = GetTopFullTransactionIdIfAny();
}

void EnterAll(uint64 ended)
{
	if (FullTransactionIdIsValid(end.xid))
		VisitHeldKeys(EnterKey, &ended);
}

void end_of_transaction(XactEvent event, [[maybe_unused]] void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			begin_end();
			break;
		case XACT_EVENT_PRE_PREPARE:
			begin_end();
			EnterAll(kNotEnded);
			break;
		case XACT_EVENT_COMMIT:
			if (FullTransactionIdIsValid(end.xid))
				EnterAll(last_writers->AdvanceClock());
			end.xid = InvalidFullTransactionId;
			break;
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			end.xid = InvalidFullTransactionId;
			break;
		default:
			break;
	}
}

/* Does a snapshot see the end of a transaction? Of an own one, or one rolled back, too. */
struct Sight
{
	Snapshot snapshot;

	bool Sees(uint64 full_xid) const
	{
		const auto xid = static_cast<TransactionId>(full_xid);

		return IsAncient(full_xid) || TransactionIdPrecedes(xid, snapshot->xmin) ||
			   TransactionIdIsCurrentTransactionId(xid) || !XidInMVCCSnapshot(xid, snapshot) ||
			   TransactionIdDidAbort(xid);
	}

	/*
	 * The ends of all that may be in the crowd; no without need if somebody else
	 * between the first and the last had not ended. Who has not even now was
	 * none of them, so that a new snapshot gets through.
	 */
	bool SeesAll(const Crowd &crowd) const
	{
		const auto first = static_cast<TransactionId>(crowd.first);
		const auto last = static_cast<TransactionId>(crowd.last);

		if (first == last)
			return Sees(crowd.last);
		if (IsAncient(crowd.last) || TransactionIdPrecedes(last, snapshot->xmin))
			return true;
		if (!TransactionIdPrecedes(last, snapshot->xmax) || snapshot->takenDuringRecovery)
			return false;

		const bool from_ever = IsAncient(crowd.first);

		for (uint32 i = 0; i < snapshot->xcnt; i++)
		{
			const TransactionId xid = snapshot->xip[i];

			if ((from_ever || TransactionIdFollowsOrEquals(xid, first)) &&
				TransactionIdPrecedesOrEquals(xid, last) &&
				(crowd.open || !TransactionIdIsInProgress(xid)))
				return false;
		}
		return true;
	}

	/* Half the circle of transaction ids away, where they cannot be compared. */
	static bool IsAncient(uint64 full_xid)
	{
		return U64FromFullTransactionId(ReadNextFullTransactionId()) - full_xid >= uint64{1} << 31;
	}
};

/* Is there a writer whose changes the snapshot does not show? */
bool hides_writer(Snapshot snapshot, const WriterSet &set, const LockRequest &request)
{
	const Sight sight = {snapshot};

	return HasUnseenWriter(
		set, MakeWriterKey(request.key.tag).key, ReadsBelow(request.mode),
		[&](uint64 xid) {
			return sight.Sees(xid);
		},
		[&](const Crowd &crowd) {
			return sight.SeesAll(crowd);
		});
}

/* The snapshot of the transaction, where that is one for all of its statements. */
Snapshot TransactionSnapshot()
{
	if (!FirstSnapshotSet)
		return nullptr;
	return ActiveSnapshotSet() ? GetActiveSnapshot() : GetTransactionSnapshot();
}

void raise_stale_transaction(const LockRequest &request)
{
	const bool error = check_snapshot >= ERROR;

	ereport(check_snapshot,
			(errcode(error ? ERRCODE_T_R_SERIALIZATION_FAILURE : ERRCODE_WARNING),
			 errmsg("could not serialize access due to concurrent holder of key \"%s\"",
					printable(request.key.bytes, request.key.size)),
			 errdetail("The last transaction that wrote while it held the key committed after the "
					   "snapshot of this transaction was taken."),
			 errhint("Retry the transaction.  One that begins with LOCK cs_key.\"key\" takes its "
					 "snapshot when it has the key.")));
}

void warn_stale_statement(const LockRequest &request)
{
	ereport(WARNING, (errmsg("statement does not see the changes of the last holder of key \"%s\"",
							 printable(request.key.bytes, request.key.size)),
					  errdetail("It reads tables as they were before the key was locked."),
					  errhint("Lock the key in a statement before the one that reads.")));
}

bool reads_stale(const RunningStatement &running, const WriterSet &set, const LockRequest &request)
{
	const QueryDesc *query = running.query;

	return query->snapshot != nullptr && IsMVCCSnapshot(query->snapshot) &&
		   ReadsTables(query->plannedstmt) && hides_writer(query->snapshot, set, request);
}

/* Prepared transactions outlive a restart, and this memory does not. */
void enter_old_prepared(const LockInstanceData &lock)
{
	const TransactionId xid = OldPreparedXid(lock);

	if (!TransactionIdIsNormal(xid) || !IsKeyLock(lock.locktag))
		return;

	const uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());
	const uint64 full_xid = next - (static_cast<TransactionId>(next) - xid);

	for (const LOCKMODE mode : kModesByStrength)
		if ((lock.holdMask & LOCKBIT_ON(mode)) != 0 && MayWriteBelow(mode))
			last_writers->Enter(
				MakeWriterKey(lock.locktag.locktag_field1, TagOfKeyLock(lock.locktag)),
				FullTransactionIdFromU64(full_xid), mode != kExclusive, 0, kNotEnded);
}

} // namespace

void find_old_writers()
{
	/* They have their locks when the recovery is over, and before that nobody can lock. */
	if (RecoveryInProgress())
		return;

	const LockData *locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
		enter_old_prepared(locks->locks[i]);
	last_writers->SetKnowsOldPrepared();
}

void check_writer(const LockRequest &request)
{
	const WriterSet set = last_writers->Read(MakeWriterKey(request.key.tag));

	if (IsolationUsesXactSnapshot())
	{
		Snapshot snapshot = TransactionSnapshot();

		if (snapshot != nullptr && hides_writer(snapshot, set, request))
			raise_stale_transaction(request);
		return;
	}
	for (const RunningStatement *running = running_statements; running != nullptr;
		 running = running->outer)
		if (reads_stale(*running, set, request))
		{
			warn_stale_statement(request);
			return;
		}
}

void note_early_release(const KeyTag &tag, LOCKMODE mode)
{
	if (last_writers == nullptr || !MayWriteBelow(mode) || !has_written())
		return;
	last_writers->Enter(MakeWriterKey(tag), GetTopFullTransactionIdIfAny(), mode != kExclusive, 0,
						kNotEnded);
}

void watch_writers()
{
	RegisterXactCallback(end_of_transaction, nullptr);
}

} // namespace cs
