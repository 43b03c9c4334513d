/*
 * printable.hpp - text of users as it may appear in messages and logs.
 */
#pragma once

#include <cstddef>

#include "key.hpp"

namespace cs {

/* How text of a database with that encoding is escaped for a reader in this one. */
Encoding EncodingFor(int encoding);

/*
 * Control characters escaped, and cut at the length of the longest key; in the
 * current memory context.
 */
char *printable(const char *bytes, size_t size);

} // namespace cs
