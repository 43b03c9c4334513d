/*
 * printable.cpp - escaping in the encoding of the database.
 */
#include "postgres.hpp"

#include "printable.hpp"

namespace cs {

Encoding EncodingFor(int encoding)
{
	/* A database in SQL_ASCII takes bytes as they are. */
	if (encoding != GetDatabaseEncoding() && GetDatabaseEncoding() != PG_SQL_ASCII)
		return Encoding::kForeign;
	switch (GetDatabaseEncoding())
	{
		case PG_UTF8:
			return Encoding::kUtf8;
		case PG_LATIN1:
		case PG_LATIN2:
		case PG_LATIN3:
		case PG_LATIN4:
		case PG_LATIN5:
		case PG_LATIN6:
		case PG_LATIN7:
		case PG_LATIN8:
		case PG_LATIN9:
		case PG_LATIN10:
		case PG_ISO_8859_5:
		case PG_ISO_8859_6:
		case PG_ISO_8859_7:
		case PG_ISO_8859_8:
			return Encoding::kIso8859;
		default:
			return Encoding::kOther;
	}
}

char *printable(const char *bytes, size_t size)
{
	char escaped[kMaxEscapedKeyBytes];

	if (size > kMaxKeyBytes)
		size = static_cast<size_t>(pg_mbcliplen(bytes, static_cast<int>(size), kMaxKeyBytes));
	EscapeKey(bytes, size, EncodingFor(GetDatabaseEncoding()), escaped);
	return pstrdup(escaped);
}

} // namespace cs
