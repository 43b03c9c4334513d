/*
 * transfer_plan.cpp - builds, keeps and drops the plans of cs_transfer.
 */
#include "transfer_plan.hpp"

namespace cs {

namespace {

struct PlanId
{
	Oid table;
	NameData id_column;
	NameData balance_column;
};

struct KeptPlan
{
	PlanId id; /* hash key, must be first */
	bool valid;
	TransferPlan *plan; /* null if building it failed */
};

HTAB *kept_plans = nullptr;

/* A column, with a domain reduced to the type below it. */
struct Column
{
	const char *name; /* quoted where needed */
	Oid type;
	int32 typmod;
	Oid collation;
};

void ForgetPlansOf(Oid table)
{
	HASH_SEQ_STATUS scan;

	hash_seq_init(&scan, kept_plans);
	while (auto *kept = static_cast<KeptPlan *>(hash_seq_search(&scan)))
		if (!OidIsValid(table) || kept->id.table == table)
			kept->valid = false;
}

void table_changed([[maybe_unused]] Datum arg, Oid table)
{
	ForgetPlansOf(table);
}

void catalog_changed([[maybe_unused]] Datum arg, [[maybe_unused]] int cache,
					 [[maybe_unused]] uint32 hash)
{
	ForgetPlansOf(InvalidOid);
}

void create_kept_plans()
{
	HASHCTL settings = {};

	settings.keysize = sizeof(PlanId);
	settings.entrysize = sizeof(KeptPlan);
	settings.hcxt = TopMemoryContext;
	kept_plans = hash_create("concurrency_safe transfer plans", 16, &settings,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(table_changed, 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_changed, 0);
	CacheRegisterSyscacheCallback(OPEROID, catalog_changed, 0);
	CacheRegisterSyscacheCallback(TYPEOID, catalog_changed, 0);
}

Column find_column(Relation accounts, const char *name)
{
	const AttrNumber number = get_attnum(RelationGetRelid(accounts), name);
	Column column = {quote_identifier(name), InvalidOid, -1, InvalidOid};

	if (number <= 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("column \"%s\" of table \"%s\" does not exist", name,
							   RelationGetRelationName(accounts))));
	get_atttypetypmodcoll(RelationGetRelid(accounts), number, &column.type, &column.typmod,
						  &column.collation);
	column.type = getBaseTypeAndTypmod(column.type, &column.typmod);
	return column;
}

[[noreturn]] void raise_no_operator(const char *name, const Column &column)
{
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
					errmsg("operator does not exist: %s %s %s", format_type_be(column.type), name,
						   format_type_be(column.type)),
					errdetail("Column %s needs it for a transfer.", column.name)));
}

/* The operator as a command can name it, whatever the search path is. */
const char *write_operator(Oid oper)
{
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(oper));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", oper);

	const auto *form = reinterpret_cast<Form_pg_operator>(GETSTRUCT(tuple));
	const char *text =
		psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
				 NameStr(form->oprname));

	ReleaseSysCache(tuple);
	return text;
}

/* The operator of that name in that schema between two values of the column's type. */
Oid find_operator(const char *schema, const char *name, Oid type)
{
	return OpernameGetOprid(list_make2(makeString(pstrdup(schema)), makeString(pstrdup(name))),
							type, type);
}

const char *schema_of_type(Oid type)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);

	const char *schema =
		get_namespace_name(reinterpret_cast<Form_pg_type>(GETSTRUCT(tuple))->typnamespace);

	ReleaseSysCache(tuple);
	return schema;
}

/* Adds or subtracts balances: the server's own operator, else one that came with the type. */
const char *find_arithmetic(const char *name, const Column &column)
{
	Oid oper = find_operator("pg_catalog", name, column.type);

	if (!OidIsValid(oper))
		oper = find_operator(schema_of_type(column.type), name, column.type);
	if (!OidIsValid(oper))
		raise_no_operator(name, column);
	return write_operator(oper);
}

SPIPlanPtr prepare(const char *command, Oid id_type)
{
	Oid types[kTransferParameters] = {id_type, id_type, NUMERICOID};
	SPIPlanPtr plan =
		SPI_prepare_cursor(command, kTransferParameters, types, CURSOR_OPT_GENERIC_PLAN);

	if (plan == nullptr)
		elog(ERROR, "could not prepare \"%s\": %s", command, SPI_result_code_string(SPI_result));
	return plan;
}

void prepare_commands(TransferPlan &plan, const Column &id, const Column &balance,
					  const char *equal)
{
	const char *is_from = psprintf("t.%s %s $1", id.name, equal);
	const char *amount =
		psprintf("CAST($3 AS %s)",
				 format_type_extended(balance.type, balance.typmod,
									  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	const char *new_balance = psprintf("CASE WHEN %s THEN t.%s %s %s ELSE t.%s %s %s END", is_from,
									   balance.name, find_arithmetic("-", balance), amount,
									   balance.name, find_arithmetic("+", balance), amount);
	const char *both = psprintf("t.%s %s ANY (ARRAY[$1, $2])", id.name, equal);

	plan.lock_and_read = prepare(
		psprintf("SELECT %s, CAST(t.%s AS pg_catalog.numeric), CAST(%s AS pg_catalog.numeric) "
				 "FROM %s AS t WHERE %s ORDER BY t.%s FOR NO KEY UPDATE",
				 is_from, balance.name, new_balance, plan.table, both, id.name),
		id.type);
	plan.update =
		prepare(psprintf("UPDATE %s AS t SET %s = %s WHERE %s "
						 "RETURNING %s, CAST(t.%s AS pg_catalog.numeric)",
						 plan.table, balance.name, new_balance, both, is_from, balance.name),
				id.type);
}

/* The usual types of an id, whose output depends on no setting. */
bool PrintsAlike(Oid type)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case UUIDOID:
			return true;
		default:
			return false;
	}
}

TransferPlan *build_plan(Relation accounts, const Column &id, const Column &balance)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "transfer plan", ALLOCSET_SMALL_SIZES);
	auto *plan = static_cast<TransferPlan *>(MemoryContextAllocZero(context, sizeof(TransferPlan)));
	const TypeCacheEntry *id_type = lookup_type_cache(id.type, TYPECACHE_EQ_OPR);
	const char *table = quote_qualified_identifier(
		get_namespace_name(RelationGetNamespace(accounts)), RelationGetRelationName(accounts));
	Oid function;
	bool varlena;

	if (!OidIsValid(id_type->eq_opr))
		raise_no_operator("=", id);
	plan->context = context;
	plan->table = MemoryContextStrdup(context, table);
	plan->id_collation = id.collation;
	getTypeInputInfo(id.type, &function, &plan->id_input_parameter);
	fmgr_info_cxt(function, &plan->id_input, context);
	getTypeOutputInfo(id.type, &function, &varlena);
	fmgr_info_cxt(function, &plan->id_output, context);
	fmgr_info_cxt(get_opcode(id_type->eq_opr), &plan->id_equal, context);
	plan->id_prints_alike = PrintsAlike(id.type);
	prepare_commands(*plan, id, balance, write_operator(id_type->eq_opr));

	/* From here on nothing fails: the plan outlives the transaction. */
	SPI_keepplan(plan->lock_and_read);
	SPI_keepplan(plan->update);
	MemoryContextSetParent(context, TopMemoryContext);
	return plan;
}

void drop_plan(TransferPlan *plan)
{
	SPI_freeplan(plan->lock_and_read);
	SPI_freeplan(plan->update);
	MemoryContextDelete(plan->context);
}

/* Builds the plan for the first time, or again after a change of the catalogs. */
void build_kept_plan(KeptPlan *kept, Relation accounts, const Column &id, const Column &balance)
{
	TransferPlan *old = kept->plan;

	kept->plan = nullptr;
	if (old != nullptr)
	{
		old->superseded = true;
		if (old->users == 0)
			drop_plan(old);
	}
	/* Before building, so that a change that comes meanwhile is not forgotten. */
	kept->valid = true;
	kept->plan = build_plan(accounts, id, balance);
}

} // namespace

TransferPlan *use_transfer_plan(Relation accounts, const char *id_column,
								const char *balance_column)
{
	PlanId plan_id;
	bool found;

	if (kept_plans == nullptr)
		create_kept_plans();
	memset(&plan_id, 0, sizeof(plan_id));
	plan_id.table = RelationGetRelid(accounts);
	namestrcpy(&plan_id.id_column, id_column);
	namestrcpy(&plan_id.balance_column, balance_column);

	auto *kept = static_cast<KeptPlan *>(hash_search(kept_plans, &plan_id, HASH_FIND, nullptr));

	if (kept == nullptr || !kept->valid || kept->plan == nullptr)
	{
		const Column id = find_column(accounts, id_column);
		const Column balance = find_column(accounts, balance_column);

		kept = static_cast<KeptPlan *>(hash_search(kept_plans, &plan_id, HASH_ENTER, &found));
		if (!found)
			kept->plan = nullptr;
		build_kept_plan(kept, accounts, id, balance);
	}
	kept->plan->users++;
	return kept->plan;
}

void release_transfer_plan(TransferPlan *plan)
{
	if (--plan->users == 0 && plan->superseded)
		drop_plan(plan);
}

} // namespace cs
