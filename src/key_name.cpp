/*
 * key_name.cpp - from the directory to what is shown.
 */
#include "key_name.hpp"
#include "printable.hpp"
#include "shared_memory.hpp"

namespace cs {

void WriteShownName(const char *stored, uint32 size, uint8 encoding, ShownName *out)
{
	const bool cut = size > kStoredNameBytes;
	const int shown =
		cut ? pg_encoding_mbcliplen(encoding, stored, kStoredNameBytes, kStoredNameBytes)
			: static_cast<int>(size);

	EscapeKey(stored, static_cast<size_t>(shown), EncodingFor(encoding), out->text);
	if (cut)
		strlcat(out->text, "...", sizeof(out->text));
}

bool FindShownName(Oid database, const KeyTag &tag, ShownName *out)
{
	KeyRecord record;

	if (directory == nullptr || !directory->ReadByTag(database, tag, &record))
		return false;
	WriteShownName(record, out);
	return true;
}

} // namespace cs
