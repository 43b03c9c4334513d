/*
 * key_fuzz.cpp - any bytes as a key: its tag, and how it is printed.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "fuzz.hpp"
#include "key.hpp"

namespace {

using fuzz::expect;

/* The same hash, fed in two parts. */
XXH128_hash_t HashInParts(std::string_view bytes, uint64_t seed)
{
	const size_t first = bytes.size() / 3;
	XXH3_state_t state;

	XXH3_128bits_reset_withSeed(&state, seed);
	XXH3_128bits_update(&state, bytes.data(), first);
	XXH3_128bits_update(&state, bytes.data() + first, bytes.size() - first);
	return XXH3_128bits_digest(&state);
}

void check_tag(std::string_view bytes, uint64_t seed)
{
	const cs::Key key = cs::MakeKey(bytes.data(), bytes.size(), seed);
	const XXH128_hash_t hash = HashInParts(bytes, seed);
	char copy[cs::kMaxKeyBytes + 1];

	expect(key.bytes == bytes.data() && key.size == bytes.size(), "a key refers to its bytes");
	expect((key.tag.field4 & 0x8000) != 0, "the top bit of field4 is set");
	expect((uint64_t{key.tag.field3} << 32 | key.tag.field2) == hash.low64,
		   "fields 2 and 3 are bits 0 to 63 of the hash");
	expect((key.rest << 15 | (key.tag.field4 & 0x7fffU)) == hash.high64,
		   "field 4 and the rest are bits 64 to 127 of the hash");

	std::memcpy(copy + 1, bytes.data(), bytes.size());
	expect(cs::MakeKey(copy + 1, bytes.size(), seed).tag == key.tag, "equal keys have equal tags");
}

/* Is this byte a control character, whatever follows? */
bool IsControl(char byte, unsigned first_kept)
{
	const auto c = static_cast<unsigned char>(byte);

	return c < ' ' || c == 127 || (c > 127 && c < first_kept);
}

/* In UTF-8, U+0080 to U+009F. */
bool IsControlPair(std::string_view text, size_t at)
{
	return text.substr(at, 1) == "\xc2" && at + 1 < text.size() &&
		   (static_cast<unsigned char>(text[at + 1]) & 0xe0) == 0x80;
}

/* What is written for the character at the front of the bytes, which is taken off. */
std::string_view WriteNext(std::string_view *bytes, cs::Encoding encoding, char *room)
{
	const unsigned first_kept = encoding == cs::Encoding::kForeign   ? 256
								: encoding == cs::Encoding::kIso8859 ? 160
																	 : 128;
	const bool pair = encoding == cs::Encoding::kUtf8 && IsControlPair(*bytes, 0) &&
					  !IsControl((*bytes)[0], first_kept);
	const char c = (*bytes)[pair ? 1 : 0];
	const std::string_view plain = bytes->substr(0, 1);

	bytes->remove_prefix(pair ? 2 : 1);
	if (!pair && !IsControl(c, first_kept))
		return plain;
	if (!pair && (c == '\n' || c == '\r' || c == '\t'))
		return c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
	room[0] = '\\';
	room[1] = 'x';
	for (int i = 0; i < 2; i++)
	{
		const int digit = static_cast<unsigned char>(c) >> (i == 0 ? 4 : 0) & 15;

		room[2 + i] = static_cast<char>(digit < 10 ? '0' + digit : 'a' + digit - 10);
	}
	return {room, 4};
}

void check_escape(std::string_view bytes, cs::Encoding encoding)
{
	char out[cs::kMaxEscapedKeyBytes];
	char again[4 * sizeof(out) + 1];
	char room[4];
	const size_t length = cs::EscapeKey(bytes.data(), bytes.size(), encoding, out);
	std::string_view left(out, length);

	expect(length <= 4 * bytes.size() && out[length] == '\0', "the text fits, and has an end");
	while (!bytes.empty())
	{
		const std::string_view next = WriteNext(&bytes, encoding, room);

		expect(left.substr(0, next.size()) == next, "each character is written as it should be");
		left.remove_prefix(next.size());
	}
	expect(left.empty(), "nothing else is written");
	expect(cs::EscapeKey(out, length, encoding, again) == length &&
			   std::memcmp(out, again, length) == 0,
		   "what is escaped has no control character left");
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz::Input input(data, size);
	const auto encoding = static_cast<cs::Encoding>(input.Byte() & 3);
	uint64_t seed = 0;
	const std::string_view seed_bytes = input.Bytes(sizeof(seed));
	const std::string_view key = input.Rest().substr(0, cs::kMaxKeyBytes);

	std::memcpy(&seed, seed_bytes.data(), seed_bytes.size());
	if (key.empty())
		return 0;
	check_tag(key, seed);
	check_escape(key, encoding);
	return 0;
}
