/*
 * release.hpp - gives back locks in session scope.
 */
#pragma once

#include "key.hpp"
#include "lock_mode.hpp"

namespace cs {

/* One hold of the key in that mode; false if there is none. Other holds stay. */
bool release_session_lock(const KeyTag &tag, LOCKMODE mode);

/* All holds, on keys and on nothing else; returns their number. */
int release_all_session_locks();

} // namespace cs
