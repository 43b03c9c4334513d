/*
 * modes.hpp - the modes of keys and which of them conflict, without a server.
 */
#pragma once

#include <cstdint>

namespace modes {

/* In the order of the server's numbers. */
enum Mode : uint8_t
{
	kIS,
	kIX,
	kS,
	kSIX,
	kX
};

inline constexpr uint8_t kModes = 5;

/* The textbook matrix of granular locking. */
inline bool conflict(int a, int b)
{
	static constexpr bool kMatrix[kModes][kModes] = {
		{false, false, false, false, true}, /* IS */
		{false, false, true, true, true},   /* IX */
		{false, true, false, true, true},   /* S */
		{false, true, true, true, true},    /* SIX */
		{true, true, true, true, true},     /* X */
	};

	return kMatrix[a][b];
}

/* Does who holds a key in that mode write the key, or what is below it? */
inline bool writes(int mode)
{
	return mode == kX || mode == kSIX || mode == kIX;
}

/* Does it read what is below the key? */
inline bool reads_below(int mode)
{
	return mode == kX || mode == kSIX || mode == kS;
}

} // namespace modes
