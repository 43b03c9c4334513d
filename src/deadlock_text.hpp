/*
 * deadlock_text.hpp - reads the detail of PostgreSQL's deadlock error, a line
 * for each session of the cycle:
 *
 *   Process 12 waits for ExclusiveLock on advisory lock [5,1,2,40000]; blocked by process 13.
 *
 * Only what no translation changes is relied on: a line begins with its process,
 * the lock mode is an English word, and an advisory lock is four numbers in
 * brackets.
 *
 * Pure: compiles without PostgreSQL, so that it can be unit-tested and fuzzed.
 */
#pragma once

#include <cstddef>
#include <cstdint>

#include "key.hpp"

namespace cs {

struct DeadlockLine
{
	const char *text; /* without the newline */
	size_t size;
	int pid; /* 0 if there is none */

	/* The session waits for a key. */
	bool has_key;
	uint32_t database;
	KeyTag tag;
	size_t after_tag; /* where the bracket ends */
};

/* Takes one line off the text; false at its end. */
bool NextDeadlockLine(const char **text, DeadlockLine *out);

/* Does the line have that word? */
bool HasWord(const DeadlockLine &line, const char *word);

} // namespace cs
