/*
 * key_text.hpp - the text of a key, from a template (key_template.hpp) and a
 * source of fields.
 */
#pragma once

#include "key.hpp"
#include "key_source.hpp"

namespace cs {

struct KeyText
{
	char bytes[kMaxKeyBytes];
	size_t size;
};

/*
 * Fills in the template. What is built is a key: empty is 22023, too long 54000.
 * A template that is no template: 22023. And what read_field raises.
 */
void write_key_text(const char *key_template, size_t size, const KeySource &source, KeyText &key);

/* Has it fields? A mistake in it: 22023. */
bool has_fields(const char *key_template, size_t size);

} // namespace cs
