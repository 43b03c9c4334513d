/*
 * arguments.hpp - from the arguments of a SQL function to the terms of this
 * library. Every reader checks NULL itself: none of our functions is STRICT,
 * because a STRICT lock function would silently lock nothing for a NULL.
 */
#pragma once

#include "lock_request.hpp"

namespace cs {

/*
 * Raises where a lock could not do its work: 55000 on a standby, where it would
 * exclude nobody on the primary; 25000 in a parallel query, where it would end
 * with the worker.
 */
void require_lockable();

/* Raises 22004 if the argument is NULL, naming it. */
void require_not_null(FunctionCallInfo fcinfo, int index, const char *name);

/* A key. NULL: 22004, empty: 22023, too long: 54000, before it is detoasted. */
Key read_key(FunctionCallInfo fcinfo, int index, const char *name);

/* A NUL-terminated text made here, or a text, as a key. */
Key make_key(const char *text);
Key make_key(const text *key);

/* A key whose size, 1 to kMaxKeyBytes, is known to be right. */
Key KeyOf(const char *bytes, size_t size);

LOCKMODE read_mode(FunctionCallInfo fcinfo, int index);

/* 55000 for session scope where concurrency_safe.session_locks is off. */
Scope read_scope(FunctionCallInfo fcinfo, int index);

/* Milliseconds, -1 = no limit; NULL: concurrency_safe.default_timeout; below -1: 22023. */
int read_timeout(FunctionCallInfo fcinfo, int index);

/* The same from the argument of a trigger; no integer: 22023. */
int timeout_from_text(const char *text);

/* The locks a call asks for. */
struct Requests
{
	LockRequest *all;
	int count;
};

/* The keys of an array, in its order. NULL in it: 22004, two dimensions: 22023. */
Requests read_keys(FunctionCallInfo fcinfo, int index, LOCKMODE mode);

/* A path: its ancestors from the top down with intent locks, then the path itself. */
Requests read_path(FunctionCallInfo fcinfo, int index, LOCKMODE mode);

} // namespace cs
