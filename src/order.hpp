/*
 * order.hpp - does a session lock keys in an order that may end in a deadlock?
 *
 * Looked at before a lock is asked for: each class of keys that the session
 * holds, and the class of the key it wants, are an order. An order not seen
 * before is entered into the graph of all sessions, and if it closes a cycle
 * that is reported, as concurrency_safe.check_order says: at error the call
 * fails with 55000 before it takes a lock.
 *
 * What is asked for without a wait cannot be waited for: it is no order. Nor are
 * the keys of one call among each other, which have an order of their own. Keys
 * of one class that are locked one by one have to come in the order of their
 * tags, as cs_lock_all takes them.
 *
 * Needs shared memory.
 */
#pragma once

#include "lock_request.hpp"
#include "settings.hpp"
#include "shared_memory.hpp"

namespace cs {

void look_at_order(LockRequest *requests, int count, bool may_wait);
void NoteHeldClass(const LockRequest &request);

/* Before the locks of a call are asked for; finds out the classes of their keys. */
inline void check_lock_order(LockRequest *requests, int count, bool may_wait)
{
	if (check_order != 0 && lock_order != nullptr)
		look_at_order(requests, count, may_wait);
}

/* A lock was granted, and noted as held. */
inline void NoteOrder(const LockRequest &request)
{
	if (request.order_class != 0)
		NoteHeldClass(request);
}

} // namespace cs
