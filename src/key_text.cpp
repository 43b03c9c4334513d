/*
 * key_text.cpp - fills in templates.
 */
#include "key_text.hpp"
#include "key_template.hpp"
#include "printable.hpp"

namespace cs {

namespace {

[[noreturn]] void raise_mistake(const TemplatePiece &piece)
{
	const char *rest = printable(piece.bytes, piece.size);

	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					piece.kind == PieceKind::kEmptyField
						? errmsg("field of the template has no name at \"%s\"", rest)
						: errmsg("unmatched brace in the template at \"%s\"", rest),
					errhint("Write {name} for a field, {{ for { and }} for }.")));
}

/* The next piece, which is no mistake. */
TemplatePiece next_piece(KeyTemplate &pieces)
{
	CHECK_FOR_INTERRUPTS();
	const TemplatePiece piece = pieces.Next();

	if (piece.kind > PieceKind::kField)
		raise_mistake(piece);
	return piece;
}

bool Append(KeyText &key, const char *bytes, size_t size)
{
	if (size > kMaxKeyBytes - key.size)
		return false;
	memcpy(key.bytes + key.size, bytes, size);
	key.size += size;
	return true;
}

void append_text(KeyText &key, const TemplatePiece &piece)
{
	if (!Append(key, piece.bytes, piece.size))
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("key is too long"),
						errdetail("The template makes more than %zu bytes.", kMaxKeyBytes)));
}

void append_field(KeyText &key, const TemplatePiece &piece, const KeySource &source)
{
	const FieldText field = read_field(source, piece.bytes, piece.size);

	if (!Append(key, field.bytes, field.size))
		raise_field_too_long(piece.bytes, piece.size);
}

} // namespace

void write_key_text(const char *key_template, size_t size, const KeySource &source, KeyText &key)
{
	KeyTemplate pieces(key_template, size);
	TemplatePiece piece;

	key.size = 0;
	while ((piece = next_piece(pieces)).kind != PieceKind::kEnd)
	{
		if (piece.kind == PieceKind::kText)
			append_text(key, piece);
		else
			append_field(key, piece, source);
	}
	if (key.size == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("key must not be empty"),
						errdetail("It is what the template \"%s\" makes.",
								  printable(key_template, size))));
}

bool has_fields(const char *key_template, size_t size)
{
	KeyTemplate pieces(key_template, size);
	TemplatePiece piece;
	bool found = false;

	while ((piece = next_piece(pieces)).kind != PieceKind::kEnd)
		found = found || piece.kind == PieceKind::kField;
	return found;
}

} // namespace cs
