/*
 * sql_order.cpp - the orders of locks that were seen, as SQL asks for them.
 */
#include "key_name.hpp"
#include "lock_mode.hpp"
#include "parties.hpp"
#include "rows.hpp"
#include "shared_memory.hpp"

namespace cs {

namespace {

/* The columns of cs_lock_order. */
enum OrderColumn
{
	kColumnHeld,
	kColumnTaken,
	kColumnHeldMode,
	kColumnTakenMode,
	kColumnInCycle,
	kColumnFirstSeen,
	kColumnPid,
	kColumnRole,
	kColumnApplication,
	kColumnQuery,
	kOrderColumns
};

/* An edge and its ends, copied out of the graph. */
struct OrderRow
{
	OrderClass held;
	OrderClass taken;
	OrderEdge edge;
};

/* False if there is no such edge any more. */
bool ReadOrder(uint32 id, OrderRow *out)
{
	const OrderGraph *graph = lock_order->Lock(LW_SHARED);
	const bool there = id <= graph->Edges();

	if (there)
	{
		out->edge = graph->Edge(static_cast<EdgeId>(id));
		out->held = graph->Class(out->edge.order.held);
		out->taken = graph->Class(out->edge.order.taken);
	}
	lock_order->Unlock();
	return there;
}

Datum class_name(const OrderClass &of)
{
	ShownName name;

	WriteShownName(of.name, of.name_size, of.encoding, &name);
	return CStringGetTextDatum(name.text);
}

/* Classes are parts of keys: who may not see what the session did sees neither. */
void set_seen(Row<kOrderColumns> &row, const OrderRow &order)
{
	const Sighting &first = order.edge.first;
	const char *role = GetUserNameFromId(first.role, true);

	row.Set(kColumnHeld, class_name(order.held));
	row.Set(kColumnTaken, class_name(order.taken));
	if (role != nullptr)
		row.Set(kColumnRole, DirectFunctionCall1(namein, CStringGetDatum(role)));
	row.Set(kColumnApplication, CStringGetTextDatum(first.application));
	row.Set(kColumnQuery, CStringGetTextDatum(first.query));
}

} // namespace

} // namespace cs

extern "C" {
CS_SQL_FUNCTION(cs_lock_order);
CS_SQL_FUNCTION(cs_lock_order_reset);
}

using namespace cs;

/* cs_lock_order() - the orders of this database, in the order in which they were seen first. */
Datum cs_lock_order(PG_FUNCTION_ARGS)
{
	require_shared_memory();
	RowSet rows = RowSet::begin(fcinfo);
	OrderRow order;

	for (uint32 id = 1; ReadOrder(id, &order); id++)
	{
		const Order &edge = order.edge.order;
		Row<kOrderColumns> row;

		if (order.held.database != MyDatabaseId)
			continue;
		row.Set(kColumnHeldMode, CStringGetTextDatum(ModeName(edge.held_mode)));
		row.Set(kColumnTakenMode, CStringGetTextDatum(ModeName(edge.taken_mode)));
		row.Set(kColumnInCycle, BoolGetDatum(order.edge.in_cycle));
		row.Set(kColumnFirstSeen, TimestampTzGetDatum(order.edge.first.at));
		row.Set(kColumnPid, Int32GetDatum(order.edge.first.pid));
		if (may_see_activity_of(order.edge.first.role))
			set_seen(row, order);
		rows.add(row);
	}
	rows.finish();
	PG_RETURN_VOID();
}

/* cs_lock_order_reset() - forgets all orders, and that cycles were reported. */
Datum cs_lock_order_reset([[maybe_unused]] PG_FUNCTION_ARGS)
{
	require_shared_memory();
	lock_order->Reset();
	PG_RETURN_VOID();
}
