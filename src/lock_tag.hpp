/*
 * lock_tag.hpp - a key's tag as the lock manager knows it, there and back.
 */
#pragma once

#include "key.hpp"
#include "postgres.hpp"

namespace cs {

inline LOCKTAG LockTag(const KeyTag &tag, Oid database = MyDatabaseId)
{
	LOCKTAG lock_tag;

	SET_LOCKTAG_ADVISORY(lock_tag, database, tag.field2, tag.field3, tag.field4);
	return lock_tag;
}

/*
 * Locks beside those on keys: of PostgreSQL's lock type "userlock", which nothing
 * else uses, with most of a key's tag. So they never meet a lock on a key, and
 * pg_locks shows, by objid, what they belong to.
 */
inline LOCKTAG SideLockTag(const KeyTag &tag, uint16 field4, Oid database = MyDatabaseId)
{
	LOCKTAG lock_tag = LockTag({tag.field2, tag.field3, field4}, database);

	lock_tag.locktag_type = LOCKTAG_USERLOCK;
	return lock_tag;
}

/* The lock of the queue for permits of the key. */
inline LOCKTAG PermitQueue(const KeyTag &tag, Oid database = MyDatabaseId)
{
	return SideLockTag(tag, tag.field4, database);
}

/* Is it a lock on a key, and no other advisory lock? */
inline bool IsKeyLock(const LOCKTAG &tag)
{
	return tag.locktag_type == LOCKTAG_ADVISORY && tag.locktag_field4 >= 0x8000;
}

inline KeyTag TagOfKeyLock(const LOCKTAG &tag)
{
	return {tag.locktag_field2, tag.locktag_field3, tag.locktag_field4};
}

} // namespace cs
