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
 * recorder_functions.cpp has what SQL calls.
 */
#include <cstring>

#include "recorder.hpp"

extern "C" {
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);
}

namespace faults {

History *history;
int server_number;
bool has_recorded;
int64 prepared_name;

namespace {

constexpr char kMagic[8] = {'h', 'i', 's', 't', 'o', 'r', 'y', '1'};

char *history_file;
shmem_startup_hook_type previous_startup;

uint32 session; /* 0 until its first record */

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

} // namespace

/* The first one introduces the session. */
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

} // namespace faults

void _PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR, (errmsg("the recorder has to be preloaded")));
	using namespace faults;

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
