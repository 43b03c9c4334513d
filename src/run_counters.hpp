/*
 * run_counters.hpp - what cs_run did, counted in shared memory.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

enum class RunCount
{
	kRun,     /* a call whose command was committed */
	kRetry,   /* an attempt that was repeated */
	kFailure, /* a call that ended with an error of its command */
	kCounts
};

class RunCounters
{
public:
	void Create()
	{
		for (pg_atomic_uint64 &count : counts)
			pg_atomic_init_u64(&count, 0);
	}

	void Reset()
	{
		for (pg_atomic_uint64 &count : counts)
			pg_atomic_write_u64(&count, 0);
	}

	void Add(RunCount which)
	{
		pg_atomic_fetch_add_u64(&counts[static_cast<int>(which)], 1);
	}

	uint64 Read(RunCount which)
	{
		return pg_atomic_read_u64(&counts[static_cast<int>(which)]);
	}

private:
	pg_atomic_uint64 counts[static_cast<int>(RunCount::kCounts)];
};

} // namespace cs
