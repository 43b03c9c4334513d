/*
 * transfer_plan.hpp - what cs_transfer knows about a table of accounts: the
 * two commands, planned once and kept, and how to read the identity of an
 * account.
 *
 * The commands are built from the catalogs, never from the search path: table,
 * types and operators are written out with their schemas, so that no object
 * planted by another role can be chosen. Kept plans follow every change of the
 * table, its schema and its types.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/* Parameters of both commands: $1 the paying account, $2 the other, $3 the amount. */
inline constexpr int kTransferParameters = 3;

/* Columns of the rows that lock_and_read returns, one row an account. */
enum ReadColumn
{
	kReadIsFrom = 1,
	kReadBalance, /* numeric, as all of these */
	/* Where the arithmetic of the balance's type is exact: */
	kReadAmount, /* as that type keeps it */
	/* Elsewhere: */
	kReadNewBalance = kReadAmount, /* as that type works it out */
	kReadChange                    /* from the one to the other, as that type works it out */
};

/* Columns of the rows that update returns. */
enum UpdateColumn
{
	kUpdateIsFrom = 1,
	kUpdateBalance /* numeric, as stored */
};

struct TransferPlan
{
	SPIPlanPtr lock_and_read;
	SPIPlanPtr update;

	Oid table_oid;
	AttrNumber balance_number;
	const char *table; /* schema.table, quoted where needed */
	Oid id_collation;
	Oid id_input_parameter;
	FmgrInfo id_input;
	FmgrInfo id_output;
	FmgrInfo id_equal;
	bool id_prints_alike; /* whatever the settings of the session are */
	bool arithmetic_is_exact;

	MemoryContext context; /* of this struct and what it points to */
	int users;             /* calls that use it now; a trigger may nest them */
	bool superseded;       /* to be dropped by its last user */
};

/*
 * The plan for that table and those columns, to be released after use; SPI
 * must be connected and the table locked. 42703: no such column, 42501: no
 * right to update the balance, 42883: no operator that is needed.
 */
TransferPlan *use_transfer_plan(Relation accounts, const char *id_column,
								const char *balance_column);

void release_transfer_plan(TransferPlan *plan);

} // namespace cs
