/*
 * key_statistics.cpp - counting waits. No PostgreSQL here.
 */
#include <algorithm>
#include <bit>

#include "key_statistics.hpp"

#ifdef POSTGRES_H
#error "key_statistics.cpp has to compile without PostgreSQL"
#endif

namespace cs {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

/* Raises the value whose bits are those of a float that is not negative. */
void RaiseFloat(std::atomic<uint32_t> &bits, double value)
{
	const auto wanted = std::bit_cast<uint32_t>(static_cast<float>(value));
	uint32_t current = bits.load(kRelaxed);

	/* Such floats are ordered as their bits are. */
	while (current < wanted && !bits.compare_exchange_weak(current, wanted, kRelaxed))
		;
}

/* A float of milliseconds, rounded to the microseconds that it came from. */
double RoundedFloat(uint32_t bits)
{
	const double microseconds = static_cast<double>(std::bit_cast<float>(bits)) * 1000;
	const auto whole = static_cast<int64_t>(microseconds);
	const int64_t rounded = microseconds - static_cast<double>(whole) < 0.5 ? whole : whole + 1;

	return static_cast<double>(rounded) / 1000;
}

} // namespace

uint32_t WaitBucket(uint64_t microseconds)
{
	const auto bucket = static_cast<uint32_t>(std::bit_width(microseconds / 1000));

	return bucket < kWaitBuckets ? bucket : kWaitBuckets - 1;
}

uint64_t KeyStatistics::Waited() const
{
	uint64_t sum = 0;

	for (const uint64_t waits : histogram)
		sum += waits;
	return sum;
}

void KeyStatistics::Add(const KeyStatistics &other)
{
	acquired += other.acquired;
	timed_out += other.timed_out;
	deadlocked += other.deadlocked;
	wait_us_total += other.wait_us_total;
	if (other.wait_ms_max > wait_ms_max)
		wait_ms_max = other.wait_ms_max;
	for (uint32_t i = 0; i < kWaitBuckets; i++)
		histogram[i] += other.histogram[i];
}

void WaitCounters::CountWait(WaitEnd end, uint64_t microseconds)
{
	if (end == WaitEnd::kTimedOut)
		timed_out.fetch_add(1, kRelaxed);
	if (end == WaitEnd::kDeadlocked)
		deadlocked.fetch_add(1, kRelaxed);
	wait_us_total.fetch_add(microseconds, kRelaxed);
	RaiseFloat(wait_ms_max, static_cast<double>(microseconds) / 1000);
	histogram[WaitBucket(microseconds)].fetch_add(1, kRelaxed);
}

void WaitCounters::CountRefusal()
{
	timed_out.fetch_add(1, kRelaxed);
}

void WaitCounters::Add(const KeyStatistics &other)
{
	timed_out.fetch_add(other.timed_out, kRelaxed);
	deadlocked.fetch_add(static_cast<uint32_t>(other.deadlocked), kRelaxed);
	wait_us_total.fetch_add(other.wait_us_total, kRelaxed);
	RaiseFloat(wait_ms_max, other.wait_ms_max);
	for (uint32_t i = 0; i < kWaitBuckets; i++)
		histogram[i].fetch_add(other.histogram[i], kRelaxed);
}

void WaitCounters::AddTo(KeyStatistics *out) const
{
	KeyStatistics mine = {};

	mine.timed_out = timed_out.load(kRelaxed);
	mine.deadlocked = deadlocked.load(kRelaxed);
	mine.wait_us_total = wait_us_total.load(kRelaxed);
	/* A float of some hours is coarser than the sum. */
	mine.wait_ms_max = std::min(RoundedFloat(wait_ms_max.load(kRelaxed)),
								static_cast<double>(mine.wait_us_total) / 1000);
	for (uint32_t i = 0; i < kWaitBuckets; i++)
		mine.histogram[i] = histogram[i].load(kRelaxed);
	out->Add(mine);
}

void WaitCounters::Reset()
{
	timed_out.store(0, kRelaxed);
	wait_us_total.store(0, kRelaxed);
	deadlocked.store(0, kRelaxed);
	wait_ms_max.store(0, kRelaxed);
	for (std::atomic<uint64_t> &waits : histogram)
		waits.store(0, kRelaxed);
}

} // namespace cs
