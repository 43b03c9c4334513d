/*
 * random.hpp - random numbers for tests.
 */
#pragma once

#include <cstdint>

/* Numbers that are the same in each run. */
class Random
{
public:
	explicit Random(uint64_t seed) : state(seed * 0x9e3779b97f4a7c15 + 1)
	{
	}

	template <typename Number> Number Below(Number limit)
	{
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		return static_cast<Number>((state >> 32) % static_cast<uint64_t>(limit));
	}

private:
	uint64_t state;
};
