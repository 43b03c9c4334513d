/*
 * template_fuzz.cpp - any text as a template of keys: its pieces, put together
 * again, are the text up to its first mistake.
 */
#include "fuzz.hpp"
#include "key_template.hpp"

namespace {

using cs::PieceKind;
using fuzz::expect;

bool IsMistake(PieceKind kind)
{
	return kind != PieceKind::kEnd && kind != PieceKind::kText && kind != PieceKind::kField;
}

/* Takes what the piece stands for off the front of the text. */
void take_piece(std::string_view *left, const cs::TemplatePiece &piece)
{
	const std::string_view bytes(piece.bytes, piece.size);
	const bool is_brace = bytes == "{" || bytes == "}";

	expect(!bytes.empty(), "no piece is empty");
	if (piece.kind == PieceKind::kField || is_brace)
	{
		const char open = piece.kind == PieceKind::kField ? '{' : bytes[0];
		const char close = piece.kind == PieceKind::kField ? '}' : bytes[0];
		/* Of two braces that are one, it is the first that the piece points to. */
		const size_t before = piece.kind == PieceKind::kField ? 1 : 0;

		expect(left->size() > bytes.size() + before && left->front() == open &&
				   (*left)[bytes.size() + before] == close,
			   "a field is in braces, and a brace is written twice");
		expect(bytes.data() == left->data() + before, "pieces follow each other");
		left->remove_prefix(bytes.size() + before + 1);
	}
	else
	{
		expect(bytes.data() == left->data() && bytes.size() <= left->size(),
			   "pieces follow each other");
		left->remove_prefix(bytes.size());
	}
	expect(is_brace || bytes.find_first_of("{}") == std::string_view::npos,
		   "there is no other brace in a piece");
}

/* What is wrong at the front of the text. */
PieceKind MistakeAt(std::string_view text)
{
	if (text.empty())
		return PieceKind::kEnd;
	if (text[0] == '}' && text.substr(0, 2) != "}}")
		return PieceKind::kUnmatchedClose;
	if (text[0] != '{' || text.substr(0, 2) == "{{")
		return PieceKind::kText;
	if (text.substr(0, 2) == "{}")
		return PieceKind::kEmptyField;

	const size_t next = text.find_first_of("{}", 1);

	return next == std::string_view::npos || text[next] == '{' ? PieceKind::kUnmatchedOpen
															   : PieceKind::kField;
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	std::string_view left(reinterpret_cast<const char *>(data), size);
	cs::KeyTemplate pieces(left.data(), size);

	for (;;)
	{
		const cs::TemplatePiece piece = pieces.Next();

		expect(piece.kind == MistakeAt(left), "each piece is of the right kind");
		if (piece.kind == PieceKind::kEnd || IsMistake(piece.kind))
		{
			const cs::TemplatePiece again = pieces.Next();

			expect(piece.bytes == left.data() && piece.size == left.size(),
				   "the end and a mistake have all that follows");
			expect(again.kind == piece.kind && again.bytes == piece.bytes &&
					   again.size == piece.size,
				   "the end and a mistake are not left again");
			return 0;
		}
		take_piece(&left, piece);
	}
}
