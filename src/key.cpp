/*
 * key.cpp - hashing, mapping, paths and printing of keys. No PostgreSQL here.
 */
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "key.hpp"

#ifdef POSTGRES_H
#error "key.cpp has to compile without PostgreSQL"
#endif

namespace cs {

Key MakeKey(const char *bytes, size_t size, uint64_t seed)
{
	const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes, size, seed);

	return Key{bytes,
			   static_cast<uint32_t>(size),
			   {static_cast<uint32_t>(hash.low64), static_cast<uint32_t>(hash.low64 >> 32),
				static_cast<uint16_t>(0x8000 | (hash.high64 & 0x7fff))},
			   hash.high64 >> 15};
}

size_t NextPathEnd(const char *path, size_t size, const char *separator, size_t separator_size,
				   size_t former_end)
{
	const size_t start = former_end == 0 ? 0 : former_end + separator_size;
	size_t end = start;

	while (end + separator_size <= size && memcmp(path + end, separator, separator_size) != 0)
		end++;
	if (end + separator_size > size)
		end = size;
	return end > start ? end : 0;
}

namespace {

/* Writes one control character. Returns the number of bytes. */
size_t WriteEscape(unsigned char c, char *out)
{
	static const char digits[] = "0123456789abcdef";

	out[0] = '\\';
	switch (c)
	{
		case '\n':
			out[1] = 'n';
			return 2;
		case '\r':
			out[1] = 'r';
			return 2;
		case '\t':
			out[1] = 't';
			return 2;
		default:
			out[1] = 'x';
			out[2] = digits[c >> 4];
			out[3] = digits[c & 15];
			return 4;
	}
}

/* U+0080 to U+009F in UTF-8. */
bool IsControlPair(const char *bytes, size_t size)
{
	return size > 1 && bytes[0] == '\xc2' && static_cast<unsigned char>(bytes[1]) >= 0x80 &&
		   static_cast<unsigned char>(bytes[1]) < 0xa0;
}

} // namespace

size_t EscapeKey(const char *bytes, size_t size, Encoding encoding, char *out)
{
	/* Bytes from 0x80 to below this one are escaped by themselves. */
	const unsigned first_kept = encoding == Encoding::kForeign   ? 0x100
								: encoding == Encoding::kIso8859 ? 0xa0
																 : 0x80;
	size_t length = 0;

	for (size_t i = 0; i < size; i++)
	{
		const auto c = static_cast<unsigned char>(bytes[i]);

		if (c < 0x20 || c == 0x7f || (c >= 0x80 && c < first_kept))
			length += WriteEscape(c, out + length);
		else if (encoding == Encoding::kUtf8 && IsControlPair(bytes + i, size - i))
			length += WriteEscape(static_cast<unsigned char>(bytes[++i]), out + length);
		else
			out[length++] = bytes[i];
	}
	out[length] = '\0';
	return length;
}

} // namespace cs
