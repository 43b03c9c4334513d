/*
 * printable.hpp - text of users as it may appear in messages and logs.
 */
#pragma once

#include <cstddef>

namespace cs {

/*
 * Control characters escaped, and cut at the length of the longest key; in the
 * current memory context.
 */
char *printable(const char *bytes, size_t size);

} // namespace cs
