/*
 * transfer.cpp - cs_transfer: moves an amount from one account to another.
 *
 * It is the model of a safe read-modify-write; each step has its reason:
 *
 *   1. Check what can be checked without the data.
 *   2. Lock the keys of both accounts, in the one order everybody uses, so that
 *      two transfers between the same accounts never deadlock. Whoever works on
 *      an account under its key is kept out from here on.
 *   3. Lock both rows and read them, in a command that begins after the keys
 *      were granted: its snapshot shows what the last holder committed. The row
 *      locks keep out those who write without the key.
 *   4. Decide on what was read.
 *   5. Write both rows with one statement.
 *
 * Everything runs with the caller's rights, in the caller's transaction: row
 * level security, triggers and constraints apply, and a failed step leaves
 * nothing behind.
 */
#include "account.hpp"
#include "amount.hpp"
#include "arguments.hpp"
#include "lock.hpp"
#include "rows.hpp"
#include "transfer_plan.hpp"

namespace cs {

namespace {

struct Transfer
{
	TransferPlan *plan;
	Account from;
	Account to;
	Numeric amount;
	TimeBudget budget;
};

/*
 * Waits for tables and rows count against the same budget as those for keys.
 * The setting itself is changed and not the variable behind it, because code of
 * users, such as triggers, runs meanwhile and may look at it.
 */
void limit_waits(Transfer &transfer)
{
	const int left = transfer.budget.Left();
	char value[16];

	/* Compared with what is in force: code of users may have changed it since. */
	if (left < 0 || LockTimeout == Max(1, left))
		return;
	snprintf(value, sizeof(value), "%d", Max(1, left));
	set_setting_for_now("lock_timeout", value);
}

void check_accounts_differ(const Transfer &transfer)
{
	if (DatumGetBool(FunctionCall2Coll(&transfer.plan->id_equal, transfer.plan->id_collation,
									   transfer.from.id, transfer.to.id)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot transfer from account \"%s\" to itself", transfer.from.name)));
}

/* Step 2. */
void lock_keys(Transfer &transfer)
{
	LockRequest requests[] = {MakeRequest(transfer.from.key, kExclusive),
							  MakeRequest(transfer.to.key, kExclusive)};
	const int count = SortAndFold(requests, lengthof(requests));

	take_locks(requests, count, {Scope::kTransaction, OnTimeout::kRaise}, transfer.budget);
}

/* The commands name the table, and the schema may have been renamed while we waited. */
void check_table_is_the_same(SPIPlanPtr plan, const Transfer &transfer)
{
	const auto *source =
		static_cast<const CachedPlanSource *>(linitial(SPI_plan_get_plan_sources(plan)));

	if (!list_member_oid(source->relationOids, transfer.plan->table_oid))
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("table %s was replaced by another during the transfer",
							   transfer.plan->table)));
}

/* Runs one of the two commands; returns the number of rows, none if a rule replaced it. */
uint64 execute(SPIPlanPtr plan, Transfer &transfer, int expected)
{
	Datum values[kTransferParameters] = {transfer.from.id, transfer.to.id,
										 NumericGetDatum(transfer.amount)};

	limit_waits(transfer);
	const int result = SPI_execute_plan(plan, values, nullptr, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute a command of cs_transfer: %s",
			 SPI_result_code_string(result));
	check_table_is_the_same(plan, transfer);
	return result == expected ? SPI_processed : 0;
}

/* A column of a row that the last command returned; null is a null pointer. */
Numeric numeric_column(uint64 row, int column)
{
	bool is_null;
	const Datum value =
		SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &is_null);

	return is_null ? nullptr : DatumGetNumeric(value);
}

bool is_from_row(uint64 row, int column)
{
	bool is_null;

	return DatumGetBool(
		SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &is_null));
}

/*
 * Where the type of the balance may lose something in a sum, the new balance
 * and its distance from the old one were worked out by that type. Both have to
 * be what arithmetic without loss gives: money may wrap around, a float may be
 * too coarse for the amount.
 */
bool change_is_exact(const Transfer &transfer, const Account &account, uint64 row)
{
	PGFunction arithmetic = &account == &transfer.from ? numeric_sub : numeric_add;
	Numeric exact = DatumGetNumeric(DirectFunctionCall2(
		arithmetic, NumericGetDatum(account.balance), NumericGetDatum(transfer.amount)));
	Numeric new_balance = numeric_column(row, kReadNewBalance);
	Numeric change = numeric_column(row, kReadChange);

	return new_balance != nullptr && change != nullptr &&
		   equal_in_decimals_of(transfer.amount, new_balance, exact) &&
		   equal_in_decimals_of(transfer.amount, change, transfer.amount);
}

void check_exact(const Transfer &transfer, const Account &account, uint64 row)
{
	const bool exact = transfer.plan->arithmetic_is_exact
						   ? equal_amounts(numeric_column(row, kReadAmount), transfer.amount)
						   : change_is_exact(transfer, account, row);

	if (!exact)
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("amount is not exact in the type of the balance of account \"%s\"",
							   account.name),
						errdetail("A balance of %s cannot change by exactly %s.",
								  amount_text(account.balance), amount_text(transfer.amount))));
}

/* The account of a row, which may appear once. */
Account &account_of_row(Transfer &transfer, uint64 row, int is_from_column)
{
	Account &account = is_from_row(row, is_from_column) ? transfer.from : transfer.to;

	if (account.found)
		ereport(ERROR, (errcode(ERRCODE_CARDINALITY_VIOLATION),
						errmsg("account \"%s\" exists more than once in table %s", account.name,
							   transfer.plan->table)));
	account.found = true;
	return account;
}

void check_balance(Transfer &transfer, uint64 row)
{
	Account &account = account_of_row(transfer, row, kReadIsFrom);

	account.balance = numeric_column(row, kReadBalance);
	if (account.balance == nullptr)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("balance of account \"%s\" is null", account.name)));
	if (numeric_is_nan(account.balance) || numeric_is_inf(account.balance))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("balance of account \"%s\" is not a finite number", account.name)));
	check_exact(transfer, account, row);
}

void check_exists(const Transfer &transfer, const Account &account)
{
	if (!account.found)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND), errmsg("account \"%s\" does not exist in table %s",
														account.name, transfer.plan->table)));
}

/* Steps 3 and 4. */
void lock_and_check_rows(Transfer &transfer)
{
	const uint64 rows = execute(transfer.plan->lock_and_read, transfer, SPI_OK_SELECT);

	for (uint64 row = 0; row < rows; row++)
		check_balance(transfer, row);
	check_exists(transfer, transfer.from);
	check_exists(transfer, transfer.to);
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(transfer.from.balance),
										 NumericGetDatum(transfer.amount))))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("account \"%s\" does not have enough funds", transfer.from.name),
				 errdetail("Its balance is %s, the amount is %s.",
						   amount_text(transfer.from.balance), amount_text(transfer.amount))));
}

void check_updated(const Transfer &transfer, const Account &account, Numeric old_balance)
{
	const bool unchanged =
		account.balance != nullptr && equal_amounts(account.balance, old_balance);

	if (!account.found || unchanged)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
						errmsg("a trigger or rule on table %s suppressed the update of account "
							   "\"%s\"",
							   transfer.plan->table, account.name)));
}

/*
 * Step 5. The balances are then what was stored: a trigger may have changed
 * them, but it must have left a change on both sides.
 */
void update_rows(Transfer &transfer)
{
	Numeric from_before = transfer.from.balance;
	Numeric to_before = transfer.to.balance;

	transfer.from.found = transfer.to.found = false;
	const uint64 rows = execute(transfer.plan->update, transfer, SPI_OK_UPDATE_RETURNING);

	for (uint64 row = 0; row < rows; row++)
		account_of_row(transfer, row, kUpdateIsFrom).balance = numeric_column(row, kUpdateBalance);
	check_updated(transfer, transfer.from, from_before);
	check_updated(transfer, transfer.to, to_before);
}

void describe_transfer(void *arg)
{
	const auto *transfer = static_cast<const Transfer *>(arg);

	errcontext("transfer from account \"%s\" to account \"%s\" of table %s", transfer->from.name,
			   transfer->to.name, transfer->plan->table);
}

void run_transfer(Transfer &transfer)
{
	ErrorContextCallback description = {error_context_stack, describe_transfer, &transfer};

	check_accounts_differ(transfer);
	lock_keys(transfer);
	error_context_stack = &description;
	lock_and_check_rows(transfer);
	update_rows(transfer);
	error_context_stack = description.previous;
}

/* The lock keeps the table's name, a part of the keys, until the end of the transaction. */
Relation open_accounts(FunctionCallInfo fcinfo)
{
	require_not_null(fcinfo, 0, "accounts");

	const Oid oid = PG_GETARG_OID(0);
	Relation accounts = try_relation_open(oid, AccessShareLock);

	if (accounts == nullptr)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("table with OID %u does not exist", oid)));
	if (accounts->rd_rel->relkind != RELKIND_RELATION &&
		accounts->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a table", RelationGetRelationName(accounts))));
	return accounts;
}

const char *read_column_name(FunctionCallInfo fcinfo, int index, const char *argument)
{
	require_not_null(fcinfo, index, argument);
	return NameStr(*PG_GETARG_NAME(index));
}

void use_plan(FunctionCallInfo fcinfo, Transfer &transfer)
{
	const char *id_column = read_column_name(fcinfo, 5, "id_column");
	const char *balance_column = read_column_name(fcinfo, 6, "balance_column");

	limit_waits(transfer);
	Relation accounts = open_accounts(fcinfo);

	transfer.plan = use_transfer_plan(accounts, id_column, balance_column);
	relation_close(accounts, NoLock);
}

/* The row (from_balance, to_balance); has to outlive the SPI connection. */
Datum make_result(FunctionCallInfo fcinfo, Datum (&balances)[2])
{
	static TupleDesc row_type = nullptr;
	bool nulls[] = {balances[0] == 0, balances[1] == 0};

	return make_row_of_kept_type(&row_type, fcinfo, balances, nulls);
}

/* A balance in the memory of the caller; null stays null. */
Datum keep_balance(Numeric balance)
{
	return balance == nullptr ? 0 : SPI_datumTransfer(NumericGetDatum(balance), false, -1);
}

} // namespace

} // namespace cs

extern "C" {
CS_SQL_FUNCTION(cs_transfer);
}

using namespace cs;

/*
 * cs_transfer(accounts, from_id, to_id, amount, timeout_ms, id_column,
 * balance_column, INOUT from_balance, INOUT to_balance) - the new balances.
 */
Datum cs_transfer(PG_FUNCTION_ARGS)
{
	require_lockable();
	Transfer transfer = {
		nullptr, {}, {}, read_amount(fcinfo, 3), TimeBudget(read_timeout(fcinfo, 4))};
	Datum balances[2];
	const int settings = NewGUCNestLevel();

	SPI_connect();
	use_plan(fcinfo, transfer);
	PG_TRY();
	{
		transfer.from = read_account(fcinfo, 1, "from_id", *transfer.plan);
		transfer.to = read_account(fcinfo, 2, "to_id", *transfer.plan);
		run_transfer(transfer);
	}
	PG_FINALLY();
	{
		release_transfer_plan(transfer.plan);
	}
	PG_END_TRY();
	balances[0] = keep_balance(transfer.from.balance);
	balances[1] = keep_balance(transfer.to.balance);
	SPI_finish();
	AtEOXact_GUC(true, settings);
	return make_result(fcinfo, balances);
}
