/*
 * key_source.hpp - where the fields of a key's template come from: a row or a
 * jsonb object.
 */
#pragma once

#include <cstddef>

#include "postgres.hpp"

namespace cs {

struct KeySource
{
	/* A row: */
	HeapTuple row;
	TupleDesc columns;
	/* BEFORE triggers: its generated columns are not computed yet, or still the old ones. */
	bool generated_later;
	/* Or an object; with neither, there are no fields. */
	Jsonb *object;
};

struct FieldText
{
	const char *bytes;
	size_t size;
};

/*
 * The field of that name, compared byte for byte: a column as its type prints it
 * (plain_output.hpp), a member of the object as ->> returns it. No such field:
 * 42703, two columns of that name: 42702, NULL: 22004, longer than a key may
 * be: 54000, which of the text types is known before the value is detoasted.
 */
FieldText read_field(const KeySource &source, const char *name, size_t size);

/* A text that is longer than a key may be because of that field: 54000. */
[[noreturn]] void raise_field_too_long(const char *name, size_t size);

} // namespace cs
