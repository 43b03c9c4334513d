/*
 * key_name.cpp - from the directory to what is shown.
 */
#include "key_name.hpp"
#include "printable.hpp"
#include "shared_memory.hpp"

namespace cs {

void WriteShownName(const KeyRecord &record, ShownName *out)
{
	const bool cut = record.name_size > kStoredNameBytes;
	const int size = cut ? pg_encoding_mbcliplen(record.encoding, record.name, kStoredNameBytes,
												 kStoredNameBytes)
						 : static_cast<int>(record.name_size);

	EscapeKey(record.name, static_cast<size_t>(size), EncodingFor(record.encoding), out->text);
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
