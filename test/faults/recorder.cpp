/*
 * recorder.cpp - writes down what sessions of a server did, in one order. For
 * tests alone: not part of the extension, and never installed with it.
 *
 * The history is a file that the postmaster maps and all its children inherit. A
 * record's number comes from one atomic counter in the file and is its place in
 * the order. The file belongs to the kernel, so it survives whatever happens to
 * the server; several servers may write one history.
 *
 * A grant is written after the lock function returned, and an end before the lock
 * is given back: by the caller before an unlock, here before a (sub)transaction or
 * session ends, since its callbacks run before its locks are released. So each
 * hold of the history lies within the real one, and two that overlap there did
 * overlap. What a killed process did not get to write makes a hold shorter, or
 * leaves a record unfilled.
 *
 * The layout of the file is known to history.py, too.
 */
#include <atomic>
#include <cstring>
#include <string_view>

extern "C" {
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);
}

namespace {

enum Kind : uint8
{
	kUnfilled,
	kServerStart, /* its shared memory is new: extra is the number of the server */
	kSession,     /* the first record of a session: extra as above, a the process */
	kGrant,
	kRefusal,
	kRelease,  /* of one hold in session scope, about to be asked for; extra: its number in the call
				*/
	kReleased, /* a: what the library answered */
	kReleaseAll,
	kReleasedAll, /* a: the number of holds, -1 if unknown */
	kHeldMode,    /* what the library says this session holds */
	kCommitSub,
	kAbortSub,
	kEnd, /* of a transaction */
	kPrepare,
	kFinishPrepared, /* about to be asked for */
	kSessionEnd,
	kPermit,     /* extra: the limit */
	kLeaseAsked, /* about to be asked for */
	kLease,      /* its transaction has committed; a: token, b: expires at, extra: for how long */
	kRenewed,    /* likewise */
	kLeaseEnd,   /* about to be released */
	kChecked,    /* a: token, until the transaction ends */
	kError,      /* a: SQLSTATE */
	kPromoted,   /* extra: the server that goes on alone */
	kSurvivor,   /* a: a prepared transaction that it knows */
	kFinish,     /* of the history: nobody is left */
};

struct Record
{
	std::atomic<uint8> kind; /* written last */
	uint8 mode;
	uint8 scope;
	uint8 level;
	uint32 session;
	uint32 key;
	uint32 extra;
	int64 a;
	int64 b;
};
static_assert(sizeof(Record) == 32);

/* Counters that all sessions write lie in cache lines of their own. */
struct History
{
	char magic[8];
	uint64 capacity;
	alignas(64) std::atomic<uint64> next;
	alignas(64) std::atomic<uint32> sessions;
	alignas(64) std::atomic<uint64> grants;
	alignas(64) std::atomic<uint64> errors;
	alignas(4096) Record records[];
};

constexpr char kMagic[8] = {'h', 'i', 's', 't', 'o', 'r', 'y', '1'};

History *history;
char *history_file;
int server_number;
shmem_startup_hook_type previous_startup;

uint32 session;      /* 0 until its first record */
bool has_recorded;   /* something that ends with the transaction */
int64 prepared_name; /* of the transaction that this session is about to prepare */
uint64 random_state;

void Write(Kind kind, const Record &content)
{
	const uint64 number = history->next.fetch_add(1);

	if (number >= history->capacity)
		return; /* which the reader sees in the counter */

	Record &record = history->records[number];

	record.mode = content.mode;
	record.scope = content.scope;
	record.level = content.level;
	record.session = session;
	record.key = content.key;
	record.extra = content.extra;
	record.a = content.a;
	record.b = content.b;
	record.kind.store(kind, std::memory_order_release);
}

void end_session(int, Datum)
{
	Write(kSessionEnd, {});
}

/* Every record of a session but those of callbacks goes through here. */
void record(Kind kind, const Record &content)
{
	if (session == 0)
	{
		session = history->sessions.fetch_add(1) + 1;
		Write(kSession, {.extra = static_cast<uint32>(server_number), .a = MyProcPid});
		before_shmem_exit(end_session, 0);
	}
	Write(kind, content);
}

uint8 Level()
{
	return static_cast<uint8>(Min(GetCurrentTransactionNestLevel(), PG_UINT8_MAX));
}

void end_transaction(XactEvent event, void *)
{
	if (session == 0)
		return;
	if (event == XACT_EVENT_PREPARE)
		Write(kPrepare, {.a = prepared_name});
	else if (has_recorded && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT))
		Write(kEnd, {});
	else if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	has_recorded = false;
}

void end_subtransaction(SubXactEvent event, SubTransactionId, SubTransactionId, void *)
{
	if (!has_recorded)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		Write(kCommitSub, {.level = Level()});
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		Write(kAbortSub, {.level = Level()});
}

/* After a crash too: nobody who held a lock of this server is alive. */
void start_server()
{
	if (previous_startup != nullptr)
		previous_startup();
	if (!IsUnderPostmaster)
		Write(kServerStart, {.extra = static_cast<uint32>(server_number)});
}

void map_history()
{
	const int file = open(history_file, O_RDWR);
	struct stat status;

	if (file < 0 || fstat(file, &status) != 0)
		ereport(FATAL,
				(errcode_for_file_access(), errmsg("could not open \"%s\": %m", history_file)));
	void *memory = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ | PROT_WRITE,
						MAP_SHARED, file, 0);

	if (memory == MAP_FAILED)
		ereport(FATAL,
				(errcode_for_file_access(), errmsg("could not map \"%s\": %m", history_file)));
	close(file);
	history = static_cast<History *>(memory);
	if (memcmp(history->magic, kMagic, sizeof(kMagic)) != 0)
		ereport(FATAL, (errmsg("\"%s\" is not a history", history_file)));
}

std::string_view TextOf(Datum value)
{
	const text *detoasted = DatumGetTextPP(value);

	return {VARDATA_ANY(detoasted), VARSIZE_ANY_EXHDR(detoasted)};
}

/* Keys are known by a hash of their names (FNV-1a). */
uint32 NumberOf(std::string_view key)
{
	uint32 hash = 2166136261;

	for (const char character : key)
		hash = (hash ^ static_cast<unsigned char>(character)) * 16777619;
	return hash;
}

struct ModeName
{
	uint8 number;
	std::string_view name;
	std::string_view short_name;
};

/* 1 to 5; 0 is none. */
constexpr ModeName kModes[] = {
	{1, "intent shared", "IS"}, {2, "intent exclusive", "IX"},
	{3, "shared", "S"},         {4, "shared intent exclusive", "SIX"},
	{5, "exclusive", "X"},
};
constexpr uint8 kIntentShared = 1, kIntentExclusive = 2, kShared = 3;

uint8 mode_of(Datum value)
{
	const std::string_view name = TextOf(value);

	for (const ModeName &mode : kModes)
		if (name == mode.name || name == mode.short_name)
			return mode.number;
	elog(ERROR, "unrecognized mode");
}

uint8 scope_of(Datum value)
{
	return TextOf(value) == "session" ? 1 : 0;
}

void record_grant(std::string_view key, uint8 mode, uint8 scope)
{
	history->grants.fetch_add(1, std::memory_order_relaxed);
	if (scope == 0)
		has_recorded = true;
	record(kGrant, {.mode = mode, .scope = scope, .level = Level(), .key = NumberOf(key)});
}

/* Calls visit for the path and each of its ancestors, with the mode that it is locked in. */
template <typename Visit> void visit_path(std::string_view path, uint8 mode, Visit visit)
{
	const uint8 above = mode == kShared || mode == kIntentShared ? kIntentShared : kIntentExclusive;

	for (size_t end = path.find(':'); end != path.npos; end = path.find(':', end + 1))
		visit(path.substr(0, end), above);
	visit(path, mode);
}

struct Texts
{
	Datum *all;
	int count;
};

Texts texts_of(Datum array)
{
	Texts texts;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &texts.all,
					  nullptr, &texts.count);
	return texts;
}

/* SplitMix64, a public-domain generator by S. Vigna: the same numbers on all machines. */
uint64 NextRandom()
{
	uint64 value = random_state += 0x9e3779b97f4a7c15;

	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
	value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
	return value ^ (value >> 31);
}

} // namespace

void _PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR, (errmsg("the recorder has to be preloaded")));
	DefineCustomStringVariable("history.file", "The file to write the history to.", nullptr,
							   &history_file, "", PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
	DefineCustomIntVariable("history.server", "The number of this server in the history.", nullptr,
							&server_number, 0, 0, INT_MAX, PGC_POSTMASTER, 0, nullptr, nullptr,
							nullptr);
	map_history();
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = start_server;
	RegisterXactCallback(end_transaction, nullptr);
	RegisterSubXactCallback(end_subtransaction, nullptr);
}

/* The functions of recorder.sql, which says what they are for. */
#define RECORDER_FUNCTION(name)                                                                    \
	extern "C" {                                                                                   \
	PG_FUNCTION_INFO_V1(name);                                                                     \
	}                                                                                              \
	Datum name([[maybe_unused]] PG_FUNCTION_ARGS)

RECORDER_FUNCTION(history_grant)
{
	const bool granted = PG_GETARG_BOOL(0);

	if (granted)
		record_grant(TextOf(PG_GETARG_DATUM(1)), mode_of(PG_GETARG_DATUM(2)),
					 scope_of(PG_GETARG_DATUM(3)));
	else
		record(kRefusal, {.key = NumberOf(TextOf(PG_GETARG_DATUM(1)))});
	PG_RETURN_BOOL(granted);
}

RECORDER_FUNCTION(history_grants)
{
	const bool granted = PG_GETARG_BOOL(0);
	const Texts keys = texts_of(PG_GETARG_DATUM(1));

	for (int i = 0; granted && i < keys.count; i++)
	{
		/* The library folds duplicates: each key is taken once. */
		bool seen = false;

		for (int j = 0; j < i && !seen; j++)
			seen = TextOf(keys.all[j]) == TextOf(keys.all[i]);
		if (!seen)
			record_grant(TextOf(keys.all[i]), mode_of(PG_GETARG_DATUM(2)),
						 scope_of(PG_GETARG_DATUM(3)));
	}
	if (!granted || keys.count == 0)
		record(kRefusal, {});
	PG_RETURN_BOOL(granted);
}

RECORDER_FUNCTION(history_grant_path)
{
	const bool granted = PG_GETARG_BOOL(0);

	if (granted)
		visit_path(TextOf(PG_GETARG_DATUM(1)), mode_of(PG_GETARG_DATUM(2)),
				   [&](std::string_view key, uint8 mode) {
					   record_grant(key, mode, scope_of(PG_GETARG_DATUM(3)));
				   });
	else
		record(kRefusal, {.key = NumberOf(TextOf(PG_GETARG_DATUM(1)))});
	PG_RETURN_BOOL(granted);
}

RECORDER_FUNCTION(history_release)
{
	record(kRelease,
		   {.mode = mode_of(PG_GETARG_DATUM(1)), .key = NumberOf(TextOf(PG_GETARG_DATUM(0)))});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_release_path)
{
	uint32 count = 0;

	visit_path(TextOf(PG_GETARG_DATUM(0)), mode_of(PG_GETARG_DATUM(1)),
			   [&](std::string_view key, uint8 mode) {
				   record(kRelease, {.mode = mode, .key = NumberOf(key), .extra = count++});
			   });
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_released)
{
	record(kReleased, {.a = PG_GETARG_BOOL(1)});
	PG_RETURN_BOOL(PG_GETARG_BOOL(1));
}

RECORDER_FUNCTION(history_release_all)
{
	record(kReleaseAll, {});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_released_all)
{
	record(kReleasedAll, {.a = PG_GETARG_INT32(1)});
	PG_RETURN_INT32(PG_GETARG_INT32(1));
}

RECORDER_FUNCTION(history_held_mode)
{
	const uint8 mode = PG_ARGISNULL(0) ? 0 : mode_of(PG_GETARG_DATUM(0));

	record(kHeldMode, {.mode = mode, .key = NumberOf(TextOf(PG_GETARG_DATUM(1)))});
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

RECORDER_FUNCTION(history_permit)
{
	const bool granted = PG_GETARG_BOOL(0);

	if (granted)
	{
		history->grants.fetch_add(1, std::memory_order_relaxed);
		has_recorded = true;
	}
	record(granted ? kPermit : kRefusal, {.level = Level(),
										  .key = NumberOf(TextOf(PG_GETARG_DATUM(1))),
										  .extra = PG_GETARG_UINT32(2)});
	PG_RETURN_BOOL(granted);
}

RECORDER_FUNCTION(history_lease)
{
	const Kind kinds[] = {kLeaseAsked, kLease, kRenewed, kLeaseEnd};

	record(kinds[PG_GETARG_INT32(0)], {.key = NumberOf(TextOf(PG_GETARG_DATUM(1))),
									   .extra = PG_GETARG_UINT32(4),
									   .a = PG_GETARG_INT64(2),
									   .b = PG_GETARG_TIMESTAMPTZ(3)});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_checked)
{
	has_recorded = true;
	record(
		kChecked,
		{.level = Level(), .key = NumberOf(TextOf(PG_GETARG_DATUM(1))), .a = PG_GETARG_INT64(2)});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_prepare)
{
	prepared_name = PG_GETARG_INT64(0);
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_finish_prepared)
{
	record(kFinishPrepared, {.a = PG_GETARG_INT64(0)});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_error)
{
	const std::string_view state = TextOf(PG_GETARG_DATUM(0));
	int64 packed = 0;

	memcpy(&packed, state.data(), Min(state.size(), 5));
	history->errors.fetch_add(1, std::memory_order_relaxed);
	record(kError, {.a = packed});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_promoted)
{
	const ArrayType *survivors = PG_GETARG_ARRAYTYPE_P(0);
	const auto *names = reinterpret_cast<const int64 *>(ARR_DATA_PTR(survivors));
	const int count = ArrayGetNItems(ARR_NDIM(survivors), ARR_DIMS(survivors));

	record(kPromoted, {.extra = static_cast<uint32>(server_number)});
	for (int i = 0; i < count; i++)
		record(kSurvivor, {.a = names[i]});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_finish)
{
	record(kFinish, {});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_seed)
{
	random_state = static_cast<uint64>(PG_GETARG_INT64(0));
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(draw)
{
	PG_RETURN_INT32(static_cast<int32>(NextRandom() % PG_GETARG_UINT32(0)));
}
