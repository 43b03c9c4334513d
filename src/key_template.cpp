/*
 * key_template.cpp - from braces to pieces.
 */
#include "key_template.hpp"

namespace cs {

namespace {

bool IsBrace(char c)
{
	return c == '{' || c == '}';
}

const char *FindBrace(const char *from, const char *end)
{
	while (from < end && !IsBrace(*from))
		from++;
	return from;
}

TemplatePiece MakePiece(PieceKind kind, const char *from, const char *to)
{
	return {kind, from, static_cast<size_t>(to - from)};
}

} // namespace

TemplatePiece KeyTemplate::Next()
{
	const char *from = next;
	const char *brace = FindBrace(from, end);

	if (brace > from)
	{
		next = brace;
		return MakePiece(PieceKind::kText, from, brace);
	}
	if (brace == end)
		return MakePiece(PieceKind::kEnd, end, end);
	/* Twice the same: the brace itself. */
	if (end - brace > 1 && brace[1] == brace[0])
	{
		next = brace + 2;
		return MakePiece(PieceKind::kText, brace, brace + 1);
	}
	if (*brace == '}')
		return MakePiece(PieceKind::kUnmatchedClose, brace, end);
	return NextField();
}

/* At an opening brace. */
TemplatePiece KeyTemplate::NextField()
{
	const char *open = next;
	const char *close = FindBrace(open + 1, end);

	if (close == end || *close == '{')
		return MakePiece(PieceKind::kUnmatchedOpen, open, end);
	if (close == open + 1)
		return MakePiece(PieceKind::kEmptyField, open, end);
	next = close + 1;
	return MakePiece(PieceKind::kField, open + 1, close);
}

} // namespace cs
