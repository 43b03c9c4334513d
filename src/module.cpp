/*
 * module.cpp - what happens when the server loads the library.
 */
#include "deadlock_history.hpp"
#include "freshness.hpp"
#include "held.hpp"
#include "permit.hpp"
#include "settings.hpp"
#include "statement.hpp"
#include "statistics.hpp"
#include "utility.hpp"
#include "written.hpp"

extern "C" {
#ifdef PG_MODULE_MAGIC_EXT
PG_MODULE_MAGIC_EXT(.name = "concurrency_safe", .version = "1.0");
#else
PG_MODULE_MAGIC;
#endif

PGDLLEXPORT void _PG_init(void);
}

void _PG_init(void)
{
	cs::define_settings();
	/* The server calls the last one first: the notes on what is held are dropped after all else. */
	cs::watch_transactions();
	cs::watch_writes();
	cs::watch_writers();
	cs::watch_waits();
	cs::watch_deadlocks();
	cs::watch_permits();
	cs::watch_statements();
	cs::watch_utility_commands();
	if (process_shared_preload_libraries_in_progress)
		cs::reserve_shared_memory();
}
