/*
 * key_name.hpp - the names of keys as views and reports show them.
 *
 * Control characters are escaped, and so is all that is not ASCII in a name
 * from a database with another encoding. A name longer than what the directory
 * stores is cut at a character boundary and ends in three dots.
 */
#pragma once

#include "directory.hpp"
#include "postgres.hpp"

namespace cs {

/* Room for a name that is shown, all of it escaped, with the dots and the terminating zero. */
struct ShownName
{
	char text[4 * kStoredNameBytes + 3 + 1];
};

/* size is that of the whole name; of it, kStoredNameBytes at most are at stored. */
void WriteShownName(const char *stored, uint32 size, uint8 encoding, ShownName *out);

inline void WriteShownName(const KeyRecord &record, ShownName *out)
{
	WriteShownName(record.name, record.name_size, record.encoding, out);
}

/* The name of the key with that tag; false if nobody knows it. */
bool FindShownName(Oid database, const KeyTag &tag, ShownName *out);

} // namespace cs
