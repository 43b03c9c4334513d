/*
 * settings.hpp - the settings concurrency_safe.*, as PostgreSQL keeps them.
 */
#pragma once

namespace cs {

/* Registers them; called once, when the library is loaded. */
void define_settings();

/* What is done about a mistake: an error level (WARNING, ERROR, LOG), or 0 for no check. */
extern int check_autocommit;
extern int check_order;
extern int check_snapshot;

extern int deadlock_history; /* entries */
extern int default_timeout;  /* ms, -1 = no limit */
extern int directory_size;   /* entries */
extern char *key_separator;  /* never empty */
extern int lock_order_size;  /* entries */
extern bool session_locks;   /* may keys be locked in session scope? */

/* How many keys this session may hold; -1 = no limit. Works the default out. */
long MaxKeysPerSession();

} // namespace cs
