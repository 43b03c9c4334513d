/*
 * key_template_test.cpp - unit tests of the templates of keys.
 */
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "key_template.hpp"
#include "random.hpp"
#include "tap.hpp"

namespace {

using cs::PieceKind;
using tap::is;
using tap::ok;

/* The pieces in brackets, fields in braces, and the kind of a mistake with the rest. */
std::string pieces_of(const std::string &text)
{
	/* A copy without a terminating zero, so that the sanitizer sees a read beyond it. */
	const auto copy = std::make_unique<char[]>(text.size());

	std::memcpy(copy.get(), text.data(), text.size());

	cs::KeyTemplate pieces(copy.get(), text.size());
	std::string seen;

	for (;;)
	{
		const cs::TemplatePiece piece = pieces.Next();
		const std::string bytes(piece.bytes, piece.size);

		switch (piece.kind)
		{
			case PieceKind::kEnd:
				return seen;
			case PieceKind::kText:
				seen.append("[").append(bytes).append("]");
				break;
			case PieceKind::kField:
				seen.append("{").append(bytes).append("}");
				break;
			case PieceKind::kUnmatchedOpen:
				return seen.append(" unmatched open at ").append(bytes);
			case PieceKind::kUnmatchedClose:
				return seen.append(" unmatched close at ").append(bytes);
			case PieceKind::kEmptyField:
				return seen.append(" empty field at ").append(bytes);
		}
	}
}

void test_pieces()
{
	const struct
	{
		const char *text;
		const char *pieces;
	} vectors[] = {
		{"", ""},
		{"stock", "[stock]"},
		{"{a}", "{a}"},
		{"withdraw:user:{user_id}", "[withdraw:user:]{user_id}"},
		{"{a}{b}", "{a}{b}"},
		{"{a}:{b}:c", "{a}[:]{b}[:c]"},
		{"{ a }", "{ a }"},
		{"{Robert\"\"); drop table t;--}", "{Robert\"\"); drop table t;--}"},
		{"{{", "[{]"},
		{"}}", "[}]"},
		{"{{}}", "[{][}]"},
		{"{{{{", "[{][{]"},
		{"a{{b}}c", "[a][{][b][}][c]"},
		{"{{a}}", "[{][a][}]"},
		{"{{{a}}}", "[{]{a}[}]"},
		{"{a}}}", "{a}[}]"},
		{"{a}{{", "{a}[{]"},
		{"\xc3\xa9{\xc3\xa9}", "[\xc3\xa9]{\xc3\xa9}"},
		{"{", " unmatched open at {"},
		{"a{b", "[a] unmatched open at {b"},
		{"{a{b}", " unmatched open at {a{b}"},
		{"{a{{b}", " unmatched open at {a{{b}"},
		{"{{{", "[{] unmatched open at {"},
		{"}", " unmatched close at }"},
		{"a}b", "[a] unmatched close at }b"},
		{"}{", " unmatched close at }{"},
		{"}}}", "[}] unmatched close at }"},
		{"{a}}", "{a} unmatched close at }"},
		{"{{a}", "[{][a] unmatched close at }"},
		{"{}", " empty field at {}"},
		{"a{}b", "[a] empty field at {}b"},
		{"{}}", " empty field at {}}"},
	};

	for (const auto &vector : vectors)
		is(pieces_of(vector.text), vector.pieces, std::string("pieces of '") + vector.text + "'");
	is(pieces_of(std::string("a\0{b\0}", 6)), std::string("[a\0]{b\0}", 8), "zero bytes");
}

void test_mistakes_stay()
{
	cs::KeyTemplate pieces("a}", 2);

	pieces.Next();
	const cs::TemplatePiece first = pieces.Next();
	const cs::TemplatePiece second = pieces.Next();

	ok(first.kind == PieceKind::kUnmatchedClose && second.kind == first.kind &&
		   second.bytes == first.bytes,
	   "after a mistake comes the same one");
}

/* Whatever the text: pieces lie in it, one behind the other, and they end. */
void test_random_texts()
{
	Random random(7);
	bool good = true;

	for (int i = 0; i < 20000; i++)
	{
		char text[12];
		const size_t size = random.Below(sizeof(text));

		for (size_t j = 0; j < size; j++)
			text[j] = "{{{}}}ab"[random.Below(8)];

		cs::KeyTemplate pieces(text, size);
		const char *reached = text;
		cs::TemplatePiece piece = pieces.Next();

		while (piece.kind == PieceKind::kText || piece.kind == PieceKind::kField)
		{
			good = good && piece.bytes >= reached && piece.size > 0;
			reached = piece.bytes + piece.size;
			good = good && reached <= text + size;
			piece = pieces.Next();
		}
		good = good && (piece.kind != PieceKind::kEnd || piece.bytes == text + size);
	}
	ok(good, "20000 random texts");
}

} // namespace

int main()
{
	test_pieces();
	test_mistakes_stay();
	test_random_texts();
	return tap::done();
}
