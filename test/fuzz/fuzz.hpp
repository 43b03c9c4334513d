/*
 * fuzz.hpp - what the targets share. Each is a program of libFuzzer, which calls
 * LLVMFuzzerTestOneInput with bytes of its invention; a check that fails ends it.
 *
 * The checks read the input in another way than the code under test, and
 * allocate nothing: a billion executions have to be cheap.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace fuzz {

inline void expect(bool right, const char *what)
{
	if (right)
		return;
	std::fprintf(stderr, "not so: %s\n", what);
	std::abort();
}

/* Takes bytes off the input; zeros at its end. */
class Input
{
public:
	Input(const uint8_t *data, size_t size) : rest(reinterpret_cast<const char *>(data), size)
	{
	}

	uint8_t Byte()
	{
		const std::string_view byte = Bytes(1);

		return byte.empty() ? 0 : static_cast<uint8_t>(byte[0]);
	}

	std::string_view Bytes(size_t count)
	{
		const std::string_view taken = rest.substr(0, count);

		rest.remove_prefix(taken.size());
		return taken;
	}

	std::string_view Rest() const
	{
		return rest;
	}

private:
	std::string_view rest;
};

} // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
