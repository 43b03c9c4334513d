/*
 * key_statistics.hpp - what is counted for a key, as plain numbers and as the
 * counters of it in shared memory.
 *
 * Pure: compiles without PostgreSQL.
 */
#pragma once

#include <atomic>
#include <cstdint>

namespace cs {

/*
 * Waits by their length: bucket 0 is below 1 ms, bucket n from 2^(n-1) to
 * below 2^n ms, and the last one, from 2048 ms, has no upper bound.
 */
inline constexpr uint32_t kWaitBuckets = 13;

uint32_t WaitBucket(uint64_t microseconds);

enum class WaitEnd : uint8_t
{
	kGranted,
	kTimedOut,
	kDeadlocked,
	kOther /* cancelled, terminated, or failed */
};

struct KeyStatistics
{
	uint64_t acquired;
	uint64_t timed_out;
	uint64_t deadlocked;
	uint64_t wait_us_total;
	double wait_ms_max;
	uint64_t histogram[kWaitBuckets];

	uint64_t Waited() const;
	void Add(const KeyStatistics &other);
};

/* All but the grants. Each counter is exact under concurrency. */
class WaitCounters
{
public:
	void CountWait(WaitEnd end, uint64_t microseconds);
	void CountRefusal(); /* without a wait */
	void Add(const KeyStatistics &other);
	void AddTo(KeyStatistics *out) const;
	void Reset();

private:
	std::atomic<uint64_t> timed_out;
	std::atomic<uint64_t> wait_us_total;
	std::atomic<uint32_t> deadlocked;
	std::atomic<uint32_t> wait_ms_max; /* the bits of a float */
	std::atomic<uint64_t> histogram[kWaitBuckets];
};

} // namespace cs
