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
	ClassId id;
	LOCKMODE mode;
	KeyTag last; /* the highest tag of them */
};

/* Beyond so many the orders of a transaction are not looked at. */
constexpr int kMostHeldClasses = 32;

HeldClass held[kMostHeldClasses];
int held_count;
uint64 held_losses_seen;

/* Classes that this session has looked up; longer names are looked up again. */
struct KnownClass
{
	ClassId id; /* 0 = none */
	uint16 size;
	char name[60];
};

constexpr uint32 kKnownClasses = 64;

KnownClass known_classes[kKnownClasses];
KnownClass *last_class = &known_classes[0];

/* Orders that are in the graph, as far as this session knows; 0 = none. */
constexpr uint32 kKnownOrders = 256;

uint64 known_orders[kKnownOrders];

/* Of the graph that all this is about. */
uint32 generation;

uint64 Packed(const Order &order)
{
	return uint64{order.held} << 32 | uint64{order.taken} << 16 |
		   static_cast<uint32>(order.held_mode << 8) | order.taken_mode;
}

uint64 &KnownOrder(uint64 packed)
{
	return known_orders[(packed * 0x9e3779b97f4a7c15U) >> 56];
}

static_assert(kKnownOrders == 1 << (64 - 56));

/* By the ends of the name: classes differ in the one or the other. */
KnownClass *KnownClassFor(const char *name, size_t size)
{
	uint64 first = 0;
	uint64 last = 0;
	const size_t part = Min(size, sizeof(first));

	memcpy(&first, name, part);
	memcpy(&last, name + size - part, part);
	return &known_classes[((first * 31 + last + size) * 0x9e3779b97f4a7c15U) >> 58];
}

static_assert(kKnownClasses == 1 << (64 - 58));

bool Is(const KnownClass &known, const char *name, size_t size)
{
	return known.size == size && known.id != 0 && memcmp(known.name, name, size) == 0;
}

void tell_full()
{
	if (lock_order->IsFirstToTell())
		ereport(LOG,
				(errmsg("there is no more room for orders of locks"),
				 errdetail("Orders of classes of keys that were not seen yet are not checked."),
				 errhint("Increase concurrency_safe.lock_order_size, or give keys classes by "
						 "putting what varies behind the last separator.")));
}

ClassId look_up_class(const char *name, size_t size)
{
	const Key hashed = MakeKey(name, size, 0);
	const uint64 hash = uint64{hashed.tag.field3} << 32 | hashed.tag.field2;
	OrderGraph *graph = lock_order->Lock(LW_SHARED);
	ClassId id = graph->FindClass(hash, MyDatabaseId);
	const bool full = !graph->HasRoomForClass();

	if (id == 0 && full)
		graph->CountLost();
	lock_order->Unlock();
	if (id == 0 && !full)
	{
		id = lock_order->Lock(LW_EXCLUSIVE)
				 ->AddClass(
					 hash, MyDatabaseId,
					 {name, static_cast<uint32>(size), static_cast<uint8>(GetDatabaseEncoding())});
		lock_order->Unlock();
	}
	if (id == 0)
		tell_full();
	return id;
}

ClassId class_of(const Key &key)
{
	const size_t size = ClassSize(key.bytes, key.size, key_separator, strlen(key_separator));

	if (Is(*last_class, key.bytes, size))
		return last_class->id;

	KnownClass *known = KnownClassFor(key.bytes, size);

	if (!Is(*known, key.bytes, size))
	{
		const ClassId id = look_up_class(key.bytes, size);

		if (size > sizeof(known->name))
			return id;
		known->id = id;
		known->size = static_cast<uint16>(size);
		memcpy(known->name, key.bytes, size);
	}
	last_class = known;
	return known->id;
}

void AddHeldClass(ClassId id, LOCKMODE mode, const KeyTag &tag)
{
	for (int i = 0; i < held_count; i++)
		if (held[i].id == id && held[i].mode == mode)
		{
			if (held[i].last < tag)
				held[i].last = tag;
			return;
		}
	if (held_count < kMostHeldClasses)
		held[held_count++] = {id, mode, tag};
}

void AddHeldKey(const HeldKey &key, [[maybe_unused]] void *arg)
{
	if (key.order_class != 0)
		AddHeldClass(key.order_class, key.mode, key.tag);
}

/* Forgets what is no longer held, and all if the graph was emptied. */
void FollowHeld()
{
	if (generation != lock_order->Generation())
	{
		generation = lock_order->Generation();
		memset(known_classes, 0, sizeof(known_classes));
		memset(known_orders, 0, sizeof(known_orders));
		ForgetOrderClasses();
	}
	if (held_losses_seen == held_losses)
		return;
	held_losses_seen = held_losses;
	held_count = 0;
	VisitHeldKeys(AddHeldKey, nullptr);
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

/* Is a key held that makes the request an order? Notes on classes may be out of date. */
struct Question
{
	const HeldClass *held_class;
	const LockRequest *request;
	bool answer;
};

void AskKey(const HeldKey &key, void *arg)
{
	auto *question = static_cast<Question *>(arg);
	const LockRequest &request = *question->request;

	if (key.order_class == question->held_class->id && key.mode == question->held_class->mode &&
		(key.order_class != request.order_class || request.key.tag < key.tag))
		question->answer = true;
}

void look_at_new_order(const HeldClass &held_class, const LockRequest &request)
{
	const Order order = {held_class.id, request.order_class, static_cast<uint8>(held_class.mode),
						 static_cast<uint8>(request.mode)};
	Question question = {&held_class, &request, false};

	if (NeedsNoWait(request))
		return;
	VisitHeldKeys(AskKey, &question);
	if (!question.answer)
		return;
	if (enter_order(order, generation))
		KnownOrder(Packed(order)) = Packed(order);
	else
		tell_full();
}

} // namespace

void look_at_order(LockRequest *requests, int count, bool may_wait)
{
	FollowHeld();
	for (int i = 0; i < count; i++)
	{
		LockRequest &request = requests[i];

		request.order_class = class_of(request.key);
		if (request.order_class == 0 || !may_wait)
			continue;
		for (int h = 0; h < held_count; h++)
		{
			const Order order = {held[h].id, request.order_class, static_cast<uint8>(held[h].mode),
								 static_cast<uint8>(request.mode)};
			const uint64 packed = Packed(order);

			if (order.held == order.taken && !(request.key.tag < held[h].last))
				continue;
			if (KnownOrder(packed) != packed)
				look_at_new_order(held[h], request);
		}
	}
}

void NoteHeldClass(const LockRequest &request)
{
	AddHeldClass(request.order_class, request.mode, request.key.tag);
}

} // namespace cs
