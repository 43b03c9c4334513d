/*
 * order.cpp - what a session knows of the orders of locks, and what it asks.
 *
 * The usual case, an order known to this session, costs a look into an array
 * for each class that is held.
 */
#include <cstring>

#include "held.hpp"
#include "lock_tag.hpp"
#include "new_order.hpp"
#include "order.hpp"

namespace cs {

namespace {

/* A class in which this session holds keys in one mode. */
struct HeldClass
{
	ClassName name;
	LOCKMODE mode;
	KeyTag last; /* the highest tag of these keys */
	bool still_held;
};

/* Beyond so many the orders of a transaction are not looked at. */
constexpr int kMostHeldClasses = 32;

HeldClass held[kMostHeldClasses];
int held_count;
uint64 held_losses_seen;

/* Orders that are in the graph, as far as this session knows, mixed; 0 = none. */
constexpr int kKnownOrderBits = 8;

uint64 known_orders[1 << kKnownOrderBits];

/* Of the graph that they are about. */
uint32 generation;

uint64 Mix(const HeldClass &before, const LockRequest &request)
{
	const uint64 modes = static_cast<uint64>(before.mode << 4 | request.mode);
	uint64 mixed = (before.name.hash ^ (modes << 56)) * 0x9e3779b97f4a7c15U;

	/* The finalizer of MurmurHash3 by Austin Appleby, public domain, without its first steps. */
	mixed = (mixed ^ (mixed >> 33) ^ request.order_class) * 0xc4ceb9fe1a85ec53U;
	return mixed ^ (mixed >> 33);
}

uint64 &KnownOrder(uint64 mixed)
{
	return known_orders[mixed >> (64 - kKnownOrderBits)];
}

/* The part of the key that is the name of its class begins it. A key that is all class is no
 * other's class. */
void FindClass(LockRequest &request)
{
	const Key &key = request.key;
	const size_t size = ClassSize(key.bytes, key.size, key_separator, strlen(key_separator));
	const Key hashed = MakeKey(key.bytes, size, GetSystemIdentifier() + (size == key.size ? 1 : 0));

	request.class_size = static_cast<uint16>(size);
	request.order_class = uint64{hashed.tag.field3} << 32 | hashed.tag.field2 | 1;
}

ClassName NameOf(const LockRequest &request)
{
	ClassName name = {request.order_class, request.class_size, {}};

	memcpy(name.bytes, request.key.bytes, Min(Size{request.class_size}, sizeof(name.bytes)));
	return name;
}

/* By half of the hash, as it is noted: two classes of one session hardly share it. */
HeldClass *FindHeldClass(uint32 half, LOCKMODE mode)
{
	for (int i = 0; i < held_count; i++)
		if (static_cast<uint32>(held[i].name.hash) == half && held[i].mode == mode)
			return &held[i];
	return nullptr;
}

void StillHeld(const HeldKey &key, [[maybe_unused]] void *arg)
{
	HeldClass *of = FindHeldClass(key.order_class, key.mode);

	if (of == nullptr)
		return;
	if (!of->still_held || of->last < key.tag)
		of->last = key.tag;
	of->still_held = true;
}

/* Forgets what is no longer held, and what was known of a graph that was emptied. */
void FollowChanges()
{
	int kept = 0;

	if (generation != lock_order->Generation())
	{
		generation = lock_order->Generation();
		memset(known_orders, 0, sizeof(known_orders));
	}
	if (held_losses_seen == held_losses)
		return;
	held_losses_seen = held_losses;
	for (int i = 0; i < held_count; i++)
		held[i].still_held = false;
	VisitHeldKeys(StillHeld, nullptr);
	for (int i = 0; i < held_count; i++)
		if (held[i].still_held)
			held[kept++] = held[i];
	held_count = kept;
}

/* Whoever waits for the wanted lock would wait for the held one as well. */
bool Covers(LOCKMODE held_mode, LOCKMODE wanted)
{
	for (LOCKMODE other = AccessShareLock; other <= MaxLockMode; other++)
		if (DoLockModesConflict(wanted, other) && !DoLockModesConflict(held_mode, other))
			return false;
	return true;
}

bool NeedsNoWait(const LockRequest &request)
{
	for (const LOCKMODE mode : kModesByStrength)
		if (Covers(mode, request.mode) && HeldByThisSession(LockTag(request.key.tag), mode))
			return true;
	return false;
}

/* Keys of one class that are locked one by one have to come in the order of their tags. */
bool IsOrder(uint64 before, const KeyTag &before_tag, const LockRequest &request)
{
	return before != request.order_class || request.key.tag < before_tag;
}

/* Is a key of the class held that makes the request an order? Locks may be gone unnoticed. */
struct Question
{
	const HeldClass *before;
	const LockRequest *request;
	bool answer;
};

void AskKey(const HeldKey &key, void *arg)
{
	auto *question = static_cast<Question *>(arg);

	if (key.order_class == static_cast<uint32>(question->before->name.hash) &&
		key.mode == question->before->mode &&
		IsOrder(question->before->name.hash, key.tag, *question->request))
		question->answer = true;
}

void look_at_new_order(const HeldClass &before, const LockRequest &request)
{
	Question question = {&before, &request, false};

	if (NeedsNoWait(request))
		return;
	VisitHeldKeys(AskKey, &question);
	if (!question.answer)
		return;
	if (enter_order({before.name, before.mode}, {NameOf(request), request.mode}))
		KnownOrder(Mix(before, request)) = Mix(before, request);
}

} // namespace

void look_at_order(LockRequest *requests, int count, bool may_wait)
{
	FollowChanges();
	for (int i = 0; i < count; i++)
	{
		LockRequest &request = requests[i];

		FindClass(request);
		for (int h = 0; may_wait && h < held_count; h++)
			if (IsOrder(held[h].name.hash, held[h].last, request) &&
				KnownOrder(Mix(held[h], request)) != Mix(held[h], request))
				look_at_new_order(held[h], request);
	}
}

void NoteHeldClass(const LockRequest &request)
{
	HeldClass *of = FindHeldClass(static_cast<uint32>(request.order_class), request.mode);

	if (of != nullptr)
		of->last = of->last < request.key.tag ? request.key.tag : of->last;
	else if (held_count < kMostHeldClasses)
		held[held_count++] = {NameOf(request), request.mode, request.key.tag, true};
}

} // namespace cs
