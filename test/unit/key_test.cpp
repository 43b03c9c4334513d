/*
 * key_test.cpp - src/key.cpp without a server. Prints TAP.
 *
 * The vectors of the mapping from keys to lock tags are frozen: sessions that
 * run different builds have to agree on the tag of a key, so a build that
 * answers differently does not exclude the others any more.
 */
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "key.hpp"
#include "tap.hpp"

namespace {

using tap::is;
using tap::ok;

cs::KeyTag tag_of(const std::string &key, uint64_t seed)
{
	return cs::MakeKey(key.data(), key.size(), seed).tag;
}

std::string hex(const cs::KeyTag &tag)
{
	char text[32];

	std::snprintf(text, sizeof(text), "%08x %08x %04x", tag.field2, tag.field3, tag.field4);
	return text;
}

constexpr uint64_t kSeed = 7123456789012345678;

void test_mapping()
{
	const struct
	{
		const char *name;
		std::string key;
		uint64_t seed;
		const char *tag;
	} vectors[] = {
		/* The hash of the first is the published one of XXH128("a"). */
		{"one byte, seed 0", "a", 0, "1e964e1f e6c632b6 e834"},
		{"one byte, seed 1", "a", 1, "6f37a720 d2f6d099 b221"},
		{"one byte", "a", kSeed, "ffeabd3e 61523eee ca50"},
		{"a business key, seed 0", "withdraw:user:42", 0, "e3affeb8 4ff9ee46 df5f"},
		{"a business key", "withdraw:user:42", kSeed, "c62b94d5 d57ccc01 ab16"},
		{"another case of it", "Withdraw:user:42", kSeed, "5c01546d a436dc9f b627"},
		{"UTF-8", "\xc3\xa9", kSeed, "724a0ce9 9274cf0b f206"},
		{"a zero byte", std::string("a\0b", 3), kSeed, "0d872e4c 0feb2b26 b173"},
		{"17 bytes", std::string(17, 'x'), kSeed, "962cee20 fbe91afd aa00"},
		{"129 bytes", std::string(129, 'x'), kSeed, "50e83197 becc647c a190"},
		{"241 bytes", std::string(241, 'x'), kSeed, "30ddb2d0 b2d984e8 ed24"},
		{"1024 bytes", std::string(1024, 'x'), kSeed, "a0a3623b 481b1d1d be0c"},
		{"1024 bytes, greatest seed", std::string(1024, 'x'), UINT64_MAX, "0b68b376 3c5e1047 e40d"},
	};

	for (const auto &vector : vectors)
		is(hex(tag_of(vector.key, vector.seed)), vector.tag, std::string("tag of ") + vector.name);

	const std::string text = "withdraw:user:42";
	const cs::Key key = cs::MakeKey(text.data(), text.size(), kSeed);
	ok(key.bytes == text.data() && key.size == text.size(), "a key refers to its bytes");

	/* The place of the bytes in memory must not matter. */
	bool same = true;
	std::vector<char> room(text.size() + 64);
	for (size_t offset = 0; offset < 64; offset++)
	{
		std::memcpy(room.data() + offset, text.data(), text.size());
		same = same && cs::MakeKey(room.data() + offset, text.size(), kSeed).tag == key.tag;
	}
	ok(same, "the tag does not depend on alignment");
}

/* What others put into field4 of an advisory lock tag. */
bool is_foreign(uint16_t field4)
{
	const bool core = field4 == 1 || field4 == 2;
	const bool citus = field4 >= 4 && field4 <= 16;
	const bool timescaledb = field4 == 29749;

	return core || citus || timescaledb;
}

void test_field4()
{
	bool top_bit = true;
	bool foreign = false;
	uint16_t seen_set = 0;
	uint16_t seen_clear = 0;

	for (int i = 0; i < 100000; i++)
	{
		const uint16_t field4 = tag_of("key:" + std::to_string(i), kSeed).field4;

		top_bit = top_bit && (field4 & 0x8000) != 0;
		foreign = foreign || is_foreign(field4);
		seen_set = static_cast<uint16_t>(seen_set | field4);
		seen_clear = static_cast<uint16_t>(seen_clear | ~field4);
	}
	ok(top_bit, "field4 of 100,000 keys has its top bit set");
	ok(!foreign, "field4 of none of them belongs to core, Citus or TimescaleDB");
	ok(seen_set == 0xffff && seen_clear == 0x7fff, "all other bits of field4 carry the hash");
}

void test_order()
{
	const cs::KeyTag sorted[] = {
		{0, 0, 0x8000},
		{0, 0, 0xffff},
		{0, 1, 0x8000},
		{0, 0x80000000, 0x8000},
		{1, 0, 0x8000},
		{0x7fffffff, 0xffffffff, 0xffff},
		{0x80000000, 0, 0x8000}, /* unsigned, not negative */
		{0xffffffff, 0xffffffff, 0xffff},
	};
	constexpr size_t count = sizeof(sorted) / sizeof(sorted[0]);
	bool right = true;

	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < count; k++)
			right =
				right && (sorted[i] < sorted[k]) == (i < k) && (sorted[i] == sorted[k]) == (i == k);
	ok(right, "tags are ordered by field2, field3, field4, unsigned");
}

/* The ends of a path's ancestors and of the path, '!' for an empty segment. */
std::string path_ends(const std::string &path, const std::string &separator)
{
	std::string ends;
	size_t end = 0;

	do
	{
		end = cs::NextPathEnd(path.data(), path.size(), separator.data(), separator.size(), end);
		if (end == 0)
			return ends + "!";
		ends += std::to_string(end) + " ";
	} while (end < path.size());
	return ends;
}

void test_paths()
{
	const struct
	{
		const char *path, *separator, *ends;
	} cases[] = {
		{"org", ":", "3 "},
		{"o", ":", "1 "},
		{"org:1", ":", "3 5 "},
		{"org:1:acct:7", ":", "3 5 10 12 "},
		{"a:b", "/", "3 "},
		{"a/b:c", "/", "1 5 "},
		{":a", ":", "!"},
		{"a:", ":", "1 !"},
		{"a::b", ":", "1 !"},
		{":", ":", "!"},
		{"::", ":", "!"},
		{"a::b::c", "::", "1 4 7 "},
		{"a:b", "::", "3 "},
		{"a:b::c", "::", "3 6 "},
		{"a:::b", "::", "1 5 "},
		{"a::", "::", "1 !"},
		{"a:", "::", "2 "},
		{":", "::", "1 "},
		{"::", "::", "!"},
		{"a", "longer than the path", "1 "},
		{"\xc3\xa9\xe2\x86\x92\xc3\xa9", "\xe2\x86\x92", "2 7 "},
	};

	for (const auto &c : cases)
		is(path_ends(c.path, c.separator), c.ends,
		   std::string("path ") + c.path + " separated by " + c.separator);
	is(path_ends(std::string("a\0b:c", 5), ":"), "3 5 ", "path with a zero byte");

	std::string deep = "a";
	while (deep.size() + 2 <= cs::kMaxKeyBytes)
		deep += ":a";
	size_t end = 0;
	size_t segments = 0;
	do
	{
		end = cs::NextPathEnd(deep.data(), deep.size(), ":", 1, end);
		segments++;
	} while (end != 0 && end < deep.size());
	ok(end == deep.size() && segments == 512, "the deepest path has 512 segments");
}

std::string escaped(const std::string &key, cs::Encoding encoding = cs::Encoding::kUtf8)
{
	static char out[cs::kMaxEscapedKeyBytes];

	std::memset(out, '#', sizeof(out));
	const size_t length = cs::EscapeKey(key.data(), key.size(), encoding, out);
	return length == std::strlen(out) ? out : "wrong length";
}

void test_escape()
{
	is(escaped("withdraw:user:42"), "withdraw:user:42", "a plain key stays as it is");
	is(escaped("a\nb\rc\td"), "a\\nb\\rc\\td", "newline, return and tab");
	is(escaped("\x1b[2J\x07"), "\\x1b[2J\\x07", "terminal sequences");
	is(escaped(std::string("\0\x01\x1f\x20\x7e\x7f", 6)), "\\x00\\x01\\x1f ~\\x7f",
	   "the ends of the control characters");
	is(escaped("\"'\\"), "\"'\\", "quotes and backslash stay");
	is(escaped("\xc3\xa9\xe2\x82\xac"), "\xc3\xa9\xe2\x82\xac", "letters beyond ASCII stay");
	is(escaped("\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0"), "\\x80\\x9b\\x9f\xc2\xa0",
	   "two-byte control characters of UTF-8");
	is(escaped("\xc2\x85", cs::Encoding::kOther), "\xc2\x85",
	   "the same bytes in another encoding stay");
	is(escaped("\x7f\x80\x85\x9f\xa0\xff", cs::Encoding::kIso8859), "\\x7f\\x80\\x85\\x9f\xa0\xff",
	   "the control characters of ISO 8859");
	is(escaped("\xc3\xa9t\n", cs::Encoding::kForeign), "\\xc3\\xa9t\\n",
	   "of a foreign encoding only ASCII stays");
	is(escaped("a\xc2"), "a\xc2", "half a character at the end");
	is(escaped("\xc2!\xc2\n\xc2\xc2\x85"), "\xc2!\xc2\\n\xc2\\x85",
	   "half a character takes nothing along");
	is(escaped(std::string(cs::kMaxKeyBytes, '\x01')).substr(4092), "\\x01",
	   "the longest key, all of it escaped");
	ok(escaped(std::string(cs::kMaxKeyBytes, '\x01')).size() == 4 * cs::kMaxKeyBytes,
	   "fills the room to the last byte");
	is(escaped(""), "", "nothing");
}

} // namespace

int main()
{
	test_mapping();
	test_field4();
	test_order();
	test_paths();
	test_escape();
	return tap::done();
}
