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
#include "arguments.hpp"
#include "lock.hpp"
#include "transfer_plan.hpp"
#include "wait_error.hpp"

namespace cs {

namespace {

struct Account
{
	Datum id;
	Key key;
	const char *name; /* the id, printable */
	Numeric balance;
};

struct Transfer
{
	TransferPlan *plan;
	Account from;
	Account to;
	Numeric amount;
	TimeBudget budget;
};

/* Step 1: an amount that can be moved. NaN compares greater than every number. */
Numeric read_amount(FunctionCallInfo fcinfo, int index)
{
	const auto check = [](bool fine, const char *problem) {
		if (!fine)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("amount must %s", problem)));
	};

	check(!PG_ARGISNULL(index), "not be null");
	Numeric amount = PG_GETARG_NUMERIC(index);

	check(!numeric_is_nan(amount), "not be NaN");
	check(!numeric_is_inf(amount), "not be infinite");
	check(DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(amount),
										   NumericGetDatum(int64_to_numeric(0)))),
		  "be greater than zero");
	return amount;
}

/*
 * The id as its type prints it. A key must not depend on how a session likes
 * its dates printed, so for types that may care the settings are fixed.
 */
const char *write_id(TransferPlan &plan, Datum id)
{
	static const char *const settings[][2] = {{"bytea_output", "hex"},
											  {"datestyle", "ISO"},
											  {"extra_float_digits", "1"},
											  {"intervalstyle", "postgres"},
											  {"timezone", "UTC"}};

	if (plan.id_prints_alike)
		return OutputFunctionCall(&plan.id_output, id);

	const int level = NewGUCNestLevel();

	for (const auto &setting : settings)
		set_config_option(setting[0], setting[1], PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
						  0, false);

	const char *printed = OutputFunctionCall(&plan.id_output, id);

	AtEOXact_GUC(true, level);
	return printed;
}

/* The id in its own type: '042' and '42' are one integer. */
Account read_account(FunctionCallInfo fcinfo, int index, const char *argument, TransferPlan &plan)
{
	require_not_null(fcinfo, index, argument);

	Account account = {};
	char *given = text_to_cstring(PG_GETARG_TEXT_PP(index));

	account.id = InputFunctionCall(&plan.id_input, given, plan.id_input_parameter, -1);

	const char *id = write_id(plan, account.id);

	account.key = make_key(psprintf("%s:%s", plan.table, id));
	account.name = printable_text(id, strlen(id));
	return account;
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

/* Runs one of the two commands; returns the number of rows, none if a rule replaced it. */
uint64 execute(SPIPlanPtr plan, const Transfer &transfer, int expected)
{
	Datum values[kTransferParameters] = {transfer.from.id, transfer.to.id,
										 NumericGetDatum(transfer.amount)};
	const int result = SPI_execute_plan(plan, values, nullptr, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute a command of cs_transfer: %s",
			 SPI_result_code_string(result));
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

const char *numeric_text(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
}

/*
 * The new balance was worked out by the balance's own type. It has to be what
 * arithmetic without loss gives, or money would appear or vanish.
 */
void check_exact(const Transfer &transfer, const Account &account, Numeric new_balance)
{
	PGFunction arithmetic = &account == &transfer.from ? numeric_sub : numeric_add;
	const Datum exact = DirectFunctionCall2(arithmetic, NumericGetDatum(account.balance),
											NumericGetDatum(transfer.amount));

	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, exact, NumericGetDatum(new_balance))))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("amount is not exact in the type of the balance of account \"%s\"",
							   account.name),
						errdetail("A balance of %s cannot change by exactly %s.",
								  numeric_text(account.balance), numeric_text(transfer.amount))));
}

void check_balance(Transfer &transfer, Account &account, uint64 row)
{
	Numeric balance = numeric_column(row, kReadBalance);

	if (account.balance != nullptr)
		ereport(ERROR, (errcode(ERRCODE_CARDINALITY_VIOLATION),
						errmsg("account \"%s\" exists more than once in table %s", account.name,
							   transfer.plan->table)));
	if (balance == nullptr)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("balance of account \"%s\" is null", account.name)));
	if (numeric_is_nan(balance) || numeric_is_inf(balance))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("balance of account \"%s\" is not a finite number", account.name)));
	account.balance = balance;
	check_exact(transfer, account, numeric_column(row, kReadNewBalance));
}

void check_exists(const Transfer &transfer, const Account &account)
{
	if (account.balance == nullptr)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND), errmsg("account \"%s\" does not exist in table %s",
														account.name, transfer.plan->table)));
}

/* Step 3. Waiting for a row counts against the same budget as waiting for a key. */
uint64 lock_and_read_rows(Transfer &transfer)
{
	const int lock_timeout = LockTimeout;
	const int left = transfer.budget.Left();
	volatile uint64 rows = 0;

	PG_TRY();
	{
		if (left >= 0)
			LockTimeout = Max(1, left);
		rows = execute(transfer.plan->lock_and_read, transfer, SPI_OK_SELECT);
	}
	PG_FINALLY();
	{
		LockTimeout = lock_timeout;
	}
	PG_END_TRY();
	return rows;
}

/* Step 4. */
void check_rows(Transfer &transfer, uint64 rows)
{
	for (uint64 row = 0; row < rows; row++)
		check_balance(transfer, is_from_row(row, kReadIsFrom) ? transfer.from : transfer.to, row);
	check_exists(transfer, transfer.from);
	check_exists(transfer, transfer.to);
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(transfer.from.balance),
										 NumericGetDatum(transfer.amount))))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("account \"%s\" has not enough funds", transfer.from.name),
				 errdetail("Its balance is %s, the amount is %s.",
						   numeric_text(transfer.from.balance), numeric_text(transfer.amount))));
}

/* Step 5. The balances are then what was stored: a trigger may have changed them. */
void update_rows(Transfer &transfer)
{
	if (execute(transfer.plan->update, transfer, SPI_OK_UPDATE_RETURNING) != 2)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
						errmsg("a trigger or rule on table %s suppressed a part of the transfer",
							   transfer.plan->table)));
	for (uint64 row = 0; row < 2; row++)
		(is_from_row(row, kUpdateIsFrom) ? transfer.from : transfer.to).balance =
			numeric_column(row, kUpdateBalance);
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
	check_rows(transfer, lock_and_read_rows(transfer));
	update_rows(transfer);
	error_context_stack = description.previous;
}

/* The lock keeps the table's name, which is a part of the keys, until the end of the transaction.
 */
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

TransferPlan *use_plan_for(FunctionCallInfo fcinfo)
{
	const char *id_column = read_column_name(fcinfo, 5, "id_column");
	const char *balance_column = read_column_name(fcinfo, 6, "balance_column");
	Relation accounts = open_accounts(fcinfo);
	TransferPlan *plan = use_transfer_plan(accounts, id_column, balance_column);

	relation_close(accounts, NoLock);
	return plan;
}

/* The row (from_balance, to_balance); has to outlive the SPI connection. */
Datum make_result(FunctionCallInfo fcinfo, Datum (&balances)[2])
{
	bool nulls[] = {balances[0] == 0, balances[1] == 0};
	TupleDesc row_type;

	if (get_call_result_type(fcinfo, nullptr, &row_type) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(row_type), balances, nulls));
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
	require_primary();
	Transfer transfer = {
		nullptr, {}, {}, read_amount(fcinfo, 3), TimeBudget(read_timeout(fcinfo, 4))};
	Datum balances[2];

	SPI_connect();
	transfer.plan = use_plan_for(fcinfo);
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
	return make_result(fcinfo, balances);
}
