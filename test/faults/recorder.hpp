/*
 * recorder.hpp - a history and its records. history.py knows the same layout.
 */
#pragma once

#include <atomic>

extern "C" {
#include "postgres.h"
}

namespace faults {

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

extern History *history;
extern int server_number;
/* The transaction holds something: its end is recorded. */
extern bool has_recorded;
/* Of the transaction that this session is about to prepare. */
extern int64 prepared_name;

/* How deep the current subtransaction is. */
uint8 Level();

/* Appends a record of this session. */
void record(Kind kind, const Record &content);

} // namespace faults
