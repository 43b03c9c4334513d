/*
 * settings.hpp - the settings concurrency_safe.*, as PostgreSQL keeps them.
 */
#pragma once

namespace cs {

/* Registers them; called once, when the library is loaded. */
void define_settings();

extern int deadlock_history; /* entries */
extern int default_timeout;  /* ms, -1 = no limit */
extern int directory_size;   /* entries */
extern char *key_separator;  /* never empty */
extern bool session_locks;   /* may keys be locked in session scope? */

/* How many keys this session may hold; -1 = no limit. Works the default out. */
long MaxKeysPerSession();

} // namespace cs
