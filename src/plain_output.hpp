/*
 * plain_output.hpp - values as text that does not depend on the session.
 *
 * A key that is made from a date has to be the same in every session, however
 * a session likes its dates printed: two keys would lock nothing against each
 * other.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/* Is the type one of those whose output surely depends on no setting? The usual ones are known. */
bool PrintsAlike(Oid type);

/* What the type's output function writes, with fixed settings where the type may care. */
char *write_plainly(FmgrInfo *output, Datum value, bool prints_alike);

} // namespace cs
