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

/* The server calls the last one first: the notes on what is held are dropped after all else. */
static void (*const steps[])() = {
	cs::define_settings, cs::watch_transactions, cs::watch_writes,
	cs::watch_writers,   cs::watch_waits,        cs::watch_deadlocks,
	cs::watch_permits,   cs::watch_statements,   cs::watch_utility_commands};

/*
 * If memory runs out in here, the server calls it again when a function is
 * called: then comes what was not yet done, and nothing twice.
 */
void _PG_init(void)
{
	static size_t done;

	for (; done < lengthof(steps); done++)
		steps[done]();
	if (process_shared_preload_libraries_in_progress)
		cs::reserve_shared_memory();
}
