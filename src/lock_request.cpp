/*
 * lock_request.cpp - the order of requests.
 */
#include <algorithm>

#include "lock_request.hpp"

namespace cs {

int SortAndFold(LockRequest *requests, int count)
{
	std::sort(requests, requests + count, [](const LockRequest &a, const LockRequest &b) {
		return a.key.tag == b.key.tag ? a.position < b.position : a.key.tag < b.key.tag;
	});
	LockRequest *end =
		std::unique(requests, requests + count, [](const LockRequest &a, const LockRequest &b) {
			return a.key.tag == b.key.tag;
		});

	return static_cast<int>(end - requests);
}

void SortByPosition(LockRequest *requests, int count)
{
	std::sort(requests, requests + count, [](const LockRequest &a, const LockRequest &b) {
		return a.position < b.position;
	});
}

} // namespace cs
