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
	now.encoding = static_cast<uint8>(GetDatabaseEncoding());
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

/* A line for each step. What others did only if the caller may see it, or all for the log. */
const char *describe(const Cycle &cycle, bool all)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < cycle.length; i++)
	{
		const Step &step = cycle.steps[i];
		const Sighting &first = step.edge.first;

		appendStringInfo(&out, "%s\"%s\" (%s), then \"%s\" (%s)", i == 0 ? "" : "\n",
						 class_name(step.held), ModeName(step.edge.order.held_mode),
						 class_name(step.taken), ModeName(step.edge.order.taken_mode));
		if (i == 0)
			appendStringInfoString(&out, ": now");
		else
			appendStringInfo(&out, ": first seen %s", timestamptz_to_str(first.at));
		if (!all && !may_see_activity_of(first.role))
			continue;

		const char *role = GetUserNameFromId(first.role, true);

		appendStringInfo(&out, ", role \"%s\", application \"%s\": %s", role == nullptr ? "" : role,
						 first.application, first.query);
	}
	return out.data;
}

/* The classes in the order of the cycle: "a" -> "b" -> "a". */
const char *cycle_path(const Cycle &cycle)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < cycle.length; i++)
		appendStringInfo(&out, "\"%s\" -> ", class_name(cycle.steps[i].held));
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

} // namespace

bool enter_order(const Order &order, uint32 generation)
{
	const Sighting now = SeenNow();
	auto *cycles = static_cast<Cycle *>(palloc(kMostCycles * sizeof(Cycle)));
	OrderCycle found[kMostCycles];
	OrderGraph *graph = lock_order->Lock(LW_EXCLUSIVE);
	const bool same = generation == lock_order->Generation();
	EdgeId edge = same ? graph->FindEdge(order) : 0;
	int count = 0;

	if (same && edge == 0)
	{
		edge = graph->AddEdge(order, now);
		if (edge != 0)
			count = graph->FindCycles(edge, DoLockModesConflict, found, kMostCycles);
	}
	for (int i = 0; i < count; i++)
		cycles[i] = CopyCycle(*graph, found[i]);
	lock_order->Unlock();
	for (int i = 0; i < count; i++)
		report(cycles[i]);
	pfree(cycles);
	return !same || edge != 0;
}

} // namespace cs
