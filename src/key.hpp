/*
 * key.hpp - a business key: text, checked, hashed once, mapped to a lock tag.
 *
 * Pure: compiles without PostgreSQL, so that it can be unit-tested and fuzzed.
 *
 * The mapping, defined here and nowhere else
 * ------------------------------------------
 * A key is its bytes; two keys are the same if and only if their bytes are.
 * Its hash is XXH3-128 seeded with the cluster's system identifier. The lock
 * tag is an advisory lock tag of PostgreSQL:
 *
 *     field1   the database
 *     field2   hash bits  0 to 31
 *     field3   hash bits 32 to 63
 *     field4   0x8000 | hash bits 64 to 78
 *
 * The top bit of field4 keeps our tags apart from pg_advisory_lock (field4 1
 * and 2), Citus (4 to 15) and TimescaleDB (29749). What remains is a hash of
 * 79 bits: the odds that any two of n keys of one database share a tag are
 * about n^2 / 2^80, one half at 9 x 10^11 keys. Keys that share a tag share
 * one lock: one of them may wait for the other without need, but exclusion is
 * never lost. The seed keeps somebody who may choose keys from computing keys
 * that collide on a cluster whose identifier is not known to them.
 */
#pragma once

#include <cstddef>
#include <cstdint>

namespace cs {

/* Longest key, in bytes. It also bounds what an error message can quote. */
inline constexpr size_t kMaxKeyBytes = 1024;

/* The part of a lock tag that is made from the key; the database is the rest. */
struct KeyTag
{
	uint32_t field2;
	uint32_t field3;
	uint16_t field4;

	friend bool operator==(const KeyTag &, const KeyTag &) = default;
};

/* The order in which several keys are locked, in every session the same. */
inline bool operator<(const KeyTag &a, const KeyTag &b)
{
	if (a.field2 != b.field2)
		return a.field2 < b.field2;
	if (a.field3 != b.field3)
		return a.field3 < b.field3;
	return a.field4 < b.field4;
}

/* The bytes are not owned and have no terminating zero. */
struct Key
{
	const char *bytes;
	uint32_t size;
	KeyTag tag;
	uint64_t rest; /* the 49 bits of the hash that the tag has no room for */
};

/* Hashes and maps; the size must be within 1 and kMaxKeyBytes. */
Key MakeKey(const char *bytes, size_t size, uint64_t seed);

/*
 * The end of the path's next ancestor: 'org:1:acct' with the separator ':'
 * has the ancestors 'org' and 'org:1'. Start with 0 and hand in the former
 * answer; the path's own size is the last answer. 0 means that the path has an
 * empty segment.
 */
size_t NextPathEnd(const char *path, size_t size, const char *separator, size_t separator_size,
				   size_t former_end);

/* The longest text that EscapeKey writes for a key, with the terminating zero. */
inline constexpr size_t kMaxEscapedKeyBytes = 4 * kMaxKeyBytes + 1;

/* What the bytes beyond ASCII mean. */
enum class Encoding
{
	kUtf8,    /* the two-byte control characters U+0080 to U+009F are known */
	kIso8859, /* one byte a character, control characters 0x80 to 0x9f */
	kOther,   /* any other of the reader's own */
	kForeign  /* not the reader's: they are escaped as well */
};

/*
 * Writes the key as it may appear in a message, a log or a view: control
 * characters become \n, \r, \t or \xNN, so that no key can forge a line or
 * drive a terminal; the rest stays as it is. out has room for 4 * size + 1
 * bytes. Returns the length.
 */
size_t EscapeKey(const char *bytes, size_t size, Encoding encoding, char *out);

} // namespace cs
