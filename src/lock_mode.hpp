/*
 * lock_mode.hpp - the names of lock modes and scopes, and what they stand for.
 *
 * The modes are the table-lock modes of PostgreSQL whose conflict table is the
 * textbook matrix of granular locking (Gray, Lorie, Putzolu, Traiger 1975):
 *
 *            IS   IX   S    SIX  X
 *     IS     +    +    +    +    -
 *     IX     +    +    -    -    -
 *     S      +    -    +    -    -
 *     SIX    +    -    -    -    -
 *     X      -    -    -    -    -
 */
#pragma once

#include <cstddef>

#include "postgres.hpp"

namespace cs {

inline constexpr LOCKMODE kIntentShared = RowShareLock;
inline constexpr LOCKMODE kIntentExclusive = RowExclusiveLock;
inline constexpr LOCKMODE kShared = ShareLock;
inline constexpr LOCKMODE kSharedIntentExclusive = ShareRowExclusiveLock;
inline constexpr LOCKMODE kExclusive = ExclusiveLock;

/* A permit of the key: conflicts with none of these, and not with itself (permit.cpp). */
inline constexpr LOCKMODE kPermit = AccessShareLock;

/* Every mode a key can be held in, the strongest first. */
inline constexpr LOCKMODE kModesByStrength[] = {kExclusive,       kSharedIntentExclusive, kShared,
												kIntentExclusive, kIntentShared,          kPermit};

/* Until when a lock is held: the end of the (sub)transaction, or an unlock or disconnect. */
enum class Scope
{
	kTransaction,
	kSession
};

/* The mode or scope of that name. Any other name: 22023, with a hint that lists them. */
LOCKMODE mode_from_name(const char *name, size_t size);
Scope scope_from_name(const char *name, size_t size);

/* The long name of a mode, 'intent shared', or 'permit'. */
const char *ModeName(LOCKMODE mode);
const char *ScopeName(Scope scope);

/* The mode that an ancestor of a path is locked in: reading below IS, writing below IX. */
LOCKMODE AncestorMode(LOCKMODE mode);

} // namespace cs
