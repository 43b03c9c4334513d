/*
 * module.cpp - what happens when the server loads the library.
 */
#include "held.hpp"
#include "settings.hpp"

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
	cs::watch_transactions();
}
