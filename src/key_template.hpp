/*
 * key_template.hpp - reads a template of keys, 'withdraw:user:{user_id}',
 * piece by piece.
 *
 * Pure: compiles without PostgreSQL, allocates nothing, and the pieces point
 * into the template. The whole syntax: {name} is a field, {{ and }} are the
 * braces themselves, the rest is text. So there is no name with a brace in it.
 */
#pragma once

#include <cstddef>

namespace cs {

enum class PieceKind
{
	kEnd,
	kText,  /* to be taken as it is */
	kField, /* the bytes are its name */
	/* Mistakes; the bytes begin at the brace, and the next piece is the same again: */
	kUnmatchedOpen,
	kUnmatchedClose,
	kEmptyField
};

struct TemplatePiece
{
	PieceKind kind;
	const char *bytes;
	size_t size;
};

class KeyTemplate
{
public:
	/* The bytes have to outlive the template and its pieces. */
	KeyTemplate(const char *bytes, size_t size) : next(bytes), end(bytes + size)
	{
	}

	TemplatePiece Next();

private:
	TemplatePiece NextField();

	const char *next;
	const char *end;
};

} // namespace cs
