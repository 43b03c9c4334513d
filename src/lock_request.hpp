/*
 * lock_request.hpp - one lock that a call asks for.
 */
#pragma once

#include "key.hpp"
#include "lock_mode.hpp"

namespace cs {

struct LockRequest
{
	Key key;
	LOCKMODE mode;
	int position; /* in the caller's array */

	/* Filled in before the lock is asked for: a hash of its class, 0 = not known (order.hpp). */
	uint64_t order_class;
	uint16_t class_size; /* the class is that much of the key */

	/* Filled in when the lock is granted: it was not held before, in that mode. */
	bool first;
};

inline LockRequest MakeRequest(const Key &key, LOCKMODE mode, int position = 0)
{
	return {key, mode, position, 0, 0, false};
}

/*
 * Puts requests into the one order in which everybody takes them and folds
 * duplicates; two calls with the same keys then never deadlock with each
 * other. Of two equal keys the one that comes first in the array is left.
 * Returns how many are left.
 */
int SortAndFold(LockRequest *requests, int count);

/* Puts requests back into the order of the caller's array. */
void SortByPosition(LockRequest *requests, int count);

} // namespace cs
