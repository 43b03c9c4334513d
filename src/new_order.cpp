/*
 * new_order.cpp - enters an order, and reports the cycles that it closes.
 */
#include "new_order.hpp"
#include "key_name.hpp"
#include "lock_mode.hpp"
#include "parties.hpp"
#include "settings.hpp"
#include "shared_memory.hpp"

namespace cs {

namespace {

/* So many cycles are reported for one order; one is enough to know that it is wrong. */
constexpr int kMostCycles = 4;

/* An edge of a cycle, copied out of the graph. */
struct Step
{
	OrderClass held;
	OrderClass taken;
	OrderEdge edge;
};

struct Cycle
{
	int length;
	Step steps[kLongestCycle];
};

/* Cuts at a character boundary. */
void CopyText(char *to, Size room, const char *from)
{
	const char *text = from == nullptr ? "" : from;
	const auto fitting = static_cast<Size>(
		pg_mbcliplen(text, static_cast<int>(strlen(text)), static_cast<int>(room) - 1));

	memcpy(to, text, fitting);
	to[fitting] = '\0';
}

Sighting SeenNow()
{
	Sighting now = {};

	now.at = GetCurrentTimestamp();
	now.role = MyProc->roleId;
	now.pid = MyProcPid;
	CopyText(now.application, sizeof(now.application), application_name);
	CopyText(now.query, sizeof(now.query), debug_query_string);
	return now;
}

Cycle CopyCycle(const OrderGraph &graph, const OrderCycle &from)
{
	Cycle to = {from.length, {}};

	for (int i = 0; i < from.length; i++)
	{
		const OrderEdge &edge = graph.Edge(from.edges[i]);

		to.steps[i] = {graph.Class(edge.order.held), graph.Class(edge.order.taken), edge};
	}
	return to;
}

const char *class_name(const OrderClass &of)
{
	ShownName name;

	WriteShownName(of.name, of.name_size, of.encoding, &name);
	return pstrdup(name.text);
}

/* May the caller know of that step? The first one is his own. */
bool may_see(const Cycle &cycle, int step)
{
	return step == 0 || may_see_activity_of(cycle.steps[step].edge.first.role);
}

void describe_step(StringInfo out, const Step &step, bool now)
{
	const Sighting &first = step.edge.first;
	const char *role = GetUserNameFromId(first.role, true);

	appendStringInfo(out, "\"%s\" (%s), then \"%s\" (%s): ", class_name(step.held),
					 ModeName(step.edge.order.held_mode), class_name(step.taken),
					 ModeName(step.edge.order.taken_mode));
	if (now)
		appendStringInfoString(out, "now");
	else
		appendStringInfo(out, "first seen %s", timestamptz_to_str(first.at));
	appendStringInfo(out, ", role \"%s\", application \"%s\": %s", role == nullptr ? "" : role,
					 first.application, first.query);
}

/* A line for each step. Classes are parts of keys: others' are for those who may see them. */
const char *describe(const Cycle &cycle, bool all)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < cycle.length; i++)
	{
		if (i > 0)
			appendStringInfoChar(&out, '\n');
		if (all || may_see(cycle, i))
			describe_step(&out, cycle.steps[i], i == 0);
		else
			appendStringInfo(&out, "and an order of a session of another role, first seen %s",
							 timestamptz_to_str(cycle.steps[i].edge.first.at));
	}
	return out.data;
}

/* The classes in the order of the cycle: "a" -> "b" -> "a". */
const char *cycle_path(const Cycle &cycle)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < cycle.length; i++)
		if (may_see(cycle, i) || may_see(cycle, i - 1))
			appendStringInfo(&out, "\"%s\" -> ", class_name(cycle.steps[i].held));
		else
			appendStringInfoString(&out, "... -> ");
	appendStringInfo(&out, "\"%s\"", class_name(cycle.steps[0].held));
	return out.data;
}

void report(const Cycle &cycle)
{
	const bool itself = cycle.length == 1;

	ereport(check_order,
			(check_order >= ERROR ? errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE) : 0,
			 itself ? errmsg("keys of class \"%s\" are locked one by one, against their order",
							 class_name(cycle.steps[0].held))
					: errmsg("keys are locked in orders that can deadlock: %s", cycle_path(cycle)),
			 errdetail("%s", describe(cycle, false)), errdetail_log("%s", describe(cycle, true)),
			 itself ? errhint("Keys of one class that are locked one by one can meet in both "
							  "orders.  Lock them in one call of cs_lock_all.")
					: errhint("Lock the keys in one order everywhere, or in one call of "
							  "cs_lock_all.  The view cs_lock_order shows all orders.")));
}

void tell_full()
{
	if (lock_order->IsFirstToTell())
		ereport(LOG,
				(errmsg("there is no more room for orders of locks"),
				 errdetail("Orders that were not seen yet are not checked."),
				 errhint("Increase concurrency_safe.lock_order_size, or put what varies in keys "
						 "behind the last separator.")));
}

Order OrderOf(const OrderGraph &graph, const ClassLock &held, const ClassLock &taken)
{
	return {graph.FindClass(held.name.hash, MyDatabaseId),
			graph.FindClass(taken.name.hash, MyDatabaseId), static_cast<uint8>(held.mode),
			static_cast<uint8>(taken.mode)};
}

/* What is there already, or cannot be entered any more, needs no exclusive lock. */
bool Ask(const ClassLock &held, const ClassLock &taken, bool *full)
{
	OrderGraph *graph = lock_order->Lock(LW_SHARED);
	const Order order = OrderOf(*graph, held, taken);
	const bool known = graph->FindEdge(order) != 0;

	*full = !known && !graph->HasRoomFor(order);
	if (*full)
		graph->CountLost();
	lock_order->Unlock();
	return known;
}

ClassId AddClass(OrderGraph &graph, const ClassName &name)
{
	return graph.AddClass(name.hash, MyDatabaseId,
						  {name.bytes, name.size, static_cast<uint8>(GetDatabaseEncoding())});
}

/* The edge, 0 if there was no place; a new one with the cycles that it closes. */
EdgeId Enter(OrderGraph &graph, const ClassLock &held, const ClassLock &taken, const Sighting &now,
			 OrderCycle *found, int *count)
{
	const Order order = {AddClass(graph, held.name), AddClass(graph, taken.name),
						 static_cast<uint8>(held.mode), static_cast<uint8>(taken.mode)};

	if (order.held == 0 || order.taken == 0)
		return 0;

	EdgeId edge = graph.FindEdge(order);

	if (edge != 0)
		return edge;
	edge = graph.AddEdge(order, now);
	if (edge != 0)
		*count = graph.FindCycles(edge, DoLockModesConflict, found, kMostCycles);
	return edge;
}

} // namespace

bool enter_order(const ClassLock &held, const ClassLock &taken)
{
	bool full;

	if (Ask(held, taken, &full))
		return true;
	if (full)
	{
		tell_full();
		return false;
	}

	const Sighting now = SeenNow();
	auto *cycles = static_cast<Cycle *>(palloc(kMostCycles * sizeof(Cycle)));
	OrderCycle found[kMostCycles];
	int count = 0;
	OrderGraph *graph = lock_order->Lock(LW_EXCLUSIVE);
	const bool entered = Enter(*graph, held, taken, now, found, &count) != 0;

	for (int i = 0; i < count; i++)
		cycles[i] = CopyCycle(*graph, found[i]);
	lock_order->Unlock();
	for (int i = 0; i < count; i++)
		report(cycles[i]);
	pfree(cycles);
	return entered;
}

} // namespace cs
