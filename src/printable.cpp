/*
 * printable.cpp - escaping in the encoding of the database.
 */
#include "postgres.hpp"

#include "key.hpp"
#include "printable.hpp"

namespace cs {

char *printable(const char *bytes, size_t size)
{
	char escaped[kMaxEscapedKeyBytes];

	if (size > kMaxKeyBytes)
		size = static_cast<size_t>(pg_mbcliplen(bytes, static_cast<int>(size), kMaxKeyBytes));
	EscapeKey(bytes, size, GetDatabaseEncoding() == PG_UTF8, escaped);
	return pstrdup(escaped);
}

} // namespace cs
