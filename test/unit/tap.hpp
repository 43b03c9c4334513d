/*
 * tap.hpp - what the unit tests print: TAP, a line for each check.
 */
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace tap {

inline int test_count = 0;
inline int failure_count = 0;

inline void ok(bool passed, const std::string &name)
{
	test_count++;
	if (!passed)
		failure_count++;
	std::printf("%sok %d - %s\n", passed ? "" : "not ", test_count, name.c_str());
}

inline void is(const std::string &got, const std::string &expected, const std::string &name)
{
	ok(got == expected, name);
	if (got != expected)
		std::printf("#   got:      %s\n#   expected: %s\n", got.c_str(), expected.c_str());
}

inline void is(uint64_t got, uint64_t expected, const std::string &name)
{
	is(std::to_string(got), std::to_string(expected), name);
}

/* Prints the plan; the exit status of the test. */
inline int done()
{
	std::printf("1..%d\n", test_count);
	return failure_count == 0 ? 0 : 1;
}

} // namespace tap
