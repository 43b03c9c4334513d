/*
 * deadlock_history.hpp - remembers the deadlocks in which a key took part.
 *
 * PostgreSQL resolves a deadlock by an error in one of its sessions, the
 * victim. A victim that waited for a key gets here from the lock room, also if
 * its error is caught later. One that waited for a row or a table is seen when
 * its error is logged; if PL/pgSQL catches that error, or log_min_messages keeps
 * it out of the log, nobody learns of it.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/*
 * A wait for a key ended in this error. Writes the names of the keys into the
 * detail that only the server's log shows.
 */
void record_deadlock(ErrorData *error);

/* Looks at deadlocks that are logged; called once, when the library is loaded. */
void watch_deadlocks();

} // namespace cs
