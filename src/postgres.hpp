/*
 * postgres.hpp - the one place that includes PostgreSQL's headers.
 *
 * Every difference between server versions is here, as a function named after
 * the newest form. C++ standard headers have to come before this one: the
 * server redefines printf and friends.
 *
 * Naming in this project: lower_case functions may raise an error of the
 * server (a longjmp), CamelCase functions never do.
 */
#pragma once

extern "C" {
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "nodes/primnodes.h"
#include "nodes/value.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "storage/sinvaladt.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/elog.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/portal.h"
#include "utils/ps_status.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"
#if PG_VERSION_NUM >= 170000
#include "storage/dsm_registry.h"
#endif

#if PG_VERSION_NUM >= 150000
#include "common/pg_prng.h"
/* From utils/pgstat_internal.h, which is more than we want. */
extern PgStat_StatDBEntry *pgstat_prep_database_pending(Oid database);
#endif
}

#if PG_VERSION_NUM < 140000
#error "concurrency_safe needs PostgreSQL 14 or later"
#endif

/* PG 16 compiles extensions with hidden symbols and marks its entry points itself. */
#if PG_VERSION_NUM < 160000
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#endif

/* Makes a function callable from SQL; within extern "C". PG 16 exports it by itself. */
#define CS_SQL_FUNCTION(name)                                                                      \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS);                                               \
	PG_FUNCTION_INFO_V1(name)

namespace cs {

/* PG 18 added logLockFailure. record receives the lock manager's local record of the lock. */
inline LockAcquireResult lock_acquire(const LOCKTAG &tag, LOCKMODE mode, bool session,
									  bool dont_wait, LOCALLOCK **record = nullptr)
{
#if PG_VERSION_NUM >= 180000
	return LockAcquireExtended(&tag, mode, session, dont_wait, true, record, false);
#else
	return LockAcquireExtended(&tag, mode, session, dont_wait, true, record);
#endif
}

/*
 * PG 16 shows a wait in the title of the process without allocating memory.
 * Before, a server that is out of memory there leaves a request behind that is in no
 * queue, and after the next wait for the lock nobody can ever take it again. So the
 * title stays as it is while we wait; what pg_stat_activity shows is not about it.
 */
inline bool ShowWaitsInTitle([[maybe_unused]] bool show)
{
#if PG_VERSION_NUM < 160000
	const bool former = update_process_title;

	update_process_title = show;
	return former;
#else
	return true;
#endif
}

/* PG 17 added orstronger. True if this session holds the lock in exactly this mode. */
inline bool HeldByThisSession(const LOCKTAG &tag, LOCKMODE mode)
{
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(&tag, mode, false);
#else
	return LockHeldByMe(&tag, mode);
#endif
}

/* PG 17 replaced backend ids by numbers of processes. Null if the session is gone. */
inline PGPROC *ProcessOf(const VirtualTransactionId &transaction)
{
#if PG_VERSION_NUM >= 170000
	return ProcNumberGetProc(transaction.procNumber);
#else
	return BackendIdGetProc(transaction.backendId);
#endif
}

/* PG 18 can leave out deferrable keys. */
inline Oid primary_key_index(Relation table)
{
#if PG_VERSION_NUM >= 180000
	return RelationGetPrimaryKeyIndex(table, false);
#else
	return RelationGetPrimaryKeyIndex(table);
#endif
}

/* PG 15 has a function for it, which does not wait for anybody. */
inline TimeLineID CurrentTimeline()
{
#if PG_VERSION_NUM >= 150000
	return GetWALInsertionTimeLine();
#else
	return ThisTimeLineID;
#endif
}

/* PG 16 renamed the function; the index starts at 1 and ends at pgstat_fetch_stat_numbackends. */
inline const PgBackendStatus *backend_status(int index)
{
#if PG_VERSION_NUM >= 160000
	LocalPgBackendStatus *local = pgstat_get_local_beentry_by_index(index);
#else
	LocalPgBackendStatus *local = pgstat_fetch_stat_local_beentry(index);
#endif
	return local == nullptr ? nullptr : &local->backendStatus;
}

/* PG 15 can forget the activity of the backends alone; before, all statistics are forgotten. */
inline void forget_backend_status_snapshot()
{
#if PG_VERSION_NUM >= 150000
	pgstat_clear_backend_activity_snapshot();
#else
	pgstat_clear_snapshot();
#endif
}

/*
 * Deadlocks of this session that the statistics of the server do not have yet:
 * every deadlock error adds one at once, and it is taken away between
 * transactions. Always 0 with track_counts off, and before PG 15.
 */
inline int64 deadlocks_not_yet_reported()
{
#if PG_VERSION_NUM >= 150000
	const auto count = [](const auto &entry) {
		if constexpr (requires { entry.n_deadlocks; })
			return entry.n_deadlocks;
		else
			return entry.deadlocks; /* its name since PG 16 */
	};

	if (pgstat_track_counts)
		return count(*pgstat_prep_database_pending(MyDatabaseId));
#endif
	return 0;
}

/* PG 16 checks the rights on all kinds of objects with one function. */
inline AclResult check_schema_usage(Oid schema, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE);
#else
	return pg_namespace_aclcheck(schema, role, ACL_USAGE);
#endif
}

/*
 * The transaction that holds the lock, if it is a prepared one that this server
 * found when it started: such a one has its own id where others have a local
 * one. Else invalid. PG 17 renamed the fields.
 */
inline TransactionId OldPreparedXid(const LockInstanceData &lock)
{
	const auto read = [](const auto &any, bool *has_backend) -> TransactionId {
		if constexpr (requires { any.lxid; })
		{
			*has_backend = any.backend != -1;
			return any.lxid;
		}
		else if constexpr (requires { any.vxid.backendId; })
		{
			*has_backend = any.vxid.backendId != -1;
			return any.vxid.localTransactionId;
		}
		else
		{
			*has_backend = any.vxid.procNumber != -1;
			return any.vxid.localTransactionId;
		}
	};
	bool has_backend;
	const TransactionId xid = read(lock, &has_backend);

	return lock.pid == 0 && !has_backend ? xid : InvalidTransactionId;
}

/* PG 15 has a generator of its own. At least 0, less than 1. */
inline double RandomFraction()
{
#if PG_VERSION_NUM >= 150000
	return pg_prng_double(&pg_global_prng_state);
#else
	return static_cast<double>(random()) / (static_cast<double>(MAX_RANDOM_VALUE) + 1);
#endif
}

/* PG 15 wants shared memory to be requested in a hook of its own. */
inline void call_when_shared_memory_is_requested(void (*request)())
{
#if PG_VERSION_NUM >= 150000
	static shmem_request_hook_type former_hook;
	static void (*our_request)();

	our_request = request;
	former_hook = shmem_request_hook;
	shmem_request_hook = [] {
		if (former_hook != nullptr)
			former_hook();
		our_request();
	};
#else
	request();
#endif
}

/*
 * PG 17 has shared memory by name for libraries that are not preloaded; null
 * on older servers. Raises if there is no memory, or if the segment exists in
 * another size.
 */
inline constexpr bool kHasNamedSharedMemory = PG_VERSION_NUM >= 170000;

inline void *named_shared_memory([[maybe_unused]] const char *name, [[maybe_unused]] Size size,
								 [[maybe_unused]] void (*initialize)(void *))
{
#if PG_VERSION_NUM >= 170000
	bool found;

	return GetNamedDSMSegment(name, size, initialize, &found);
#else
	return nullptr;
#endif
}

/* PG 15 added MarkGUCPrefixReserved; before, misspelt settings can only be warned about. */
inline void reserve_setting_prefix(const char *prefix)
{
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved(prefix);
#else
	EmitWarningsOnPlaceholders(prefix);
#endif
}

/*
 * Did statements of a pipeline come before, in this transaction? They have no
 * transaction block, and the flag is in minor releases since 2022 alone.
 */
inline bool IsLaterInPipeline()
{
#ifdef XACT_FLAGS_PIPELINING
	return (static_cast<uint32>(MyXactFlags) & XACT_FLAGS_PIPELINING) != 0;
#else
	return false;
#endif
}

/* Changes a setting until the end of the nest level that the caller has begun. */
inline void set_setting_for_now(const char *name, const char *value)
{
	set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

} // namespace cs
