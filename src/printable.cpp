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
	return GetDatabaseEncoding() == PG_UTF8 ? Encoding::kUtf8 : Encoding::kOther;
}

char *printable(const char *bytes, size_t size)
{
	return printable_from(GetDatabaseEncoding(), bytes, size);
}

char *printable_from(int encoding, const char *bytes, size_t size)
{
	char escaped[kMaxEscapedKeyBytes];

	if (size > kMaxKeyBytes)
		size = static_cast<size_t>(pg_encoding_mbcliplen(encoding, bytes, static_cast<int>(size),
														 static_cast<int>(kMaxKeyBytes)));
	EscapeKey(bytes, size, EncodingFor(encoding), escaped);
	return pstrdup(escaped);
}

} // namespace cs
