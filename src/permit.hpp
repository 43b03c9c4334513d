/*
 * permit.hpp - permits of a key, as others than their functions have to know them.
 */
#pragma once

#include "lock_tag.hpp"

namespace cs {

/* The lock of the queue for permits of the key. */
inline LOCKTAG PermitQueue(const KeyTag &tag, Oid database = MyDatabaseId)
{
	return SideLockTag(tag, tag.field4, database);
}

/* Registers for the ends of transactions; called once, when the library is loaded. */
void watch_permits();

} // namespace cs
