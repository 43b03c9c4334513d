/*
 * transfer_plan.cpp - builds, keeps and drops the plans of cs_transfer.
 */
#include "transfer_plan.hpp"
#include "plain_output.hpp"

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
	uint32 balance_type_hash; /* of its entry in the system cache */
	TransferPlan *plan;       /* null if building it failed */
};

HTAB *kept_plans = nullptr;

/* A column, with a domain reduced to the type below it. */
struct Column
{
	const char *name; /* quoted where needed */
	AttrNumber number;
	Oid type;
	int32 typmod;
	Oid collation;
};

void table_changed([[maybe_unused]] Datum arg, Oid table)
{
	HASH_SEQ_STATUS scan;

	hash_seq_init(&scan, kept_plans);
	while (auto *kept = static_cast<KeptPlan *>(hash_seq_search(&scan)))
		if (!OidIsValid(table) || kept->id.table == table)
			kept->valid = false;
}

/* Every new table is a change of the types, so they are told apart by their hash. */
void catalog_changed([[maybe_unused]] Datum arg, int cache, uint32 hash)
{
	HASH_SEQ_STATUS scan;

	hash_seq_init(&scan, kept_plans);
	while (auto *kept = static_cast<KeptPlan *>(hash_seq_search(&scan)))
		if (cache != TYPEOID || hash == 0 || hash == kept->balance_type_hash)
			kept->valid = false;
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
	Column column = {quote_identifier(name), number, InvalidOid, -1, InvalidOid};

	if (number <= 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("column \"%s\" of table \"%s\" does not exist", name,
							   RelationGetRelationName(accounts))));
	get_atttypetypmodcoll(RelationGetRelid(accounts), number, &column.type, &column.typmod,
						  &column.collation);
	column.type = getBaseTypeAndTypmod(column.type, &column.typmod);
	return column;
}

/*
 * The commands check all rights themselves, but only after the wait for the
 * keys, in which the lock on the table must not be held by somebody who has none.
 */
void require_update_right(Relation accounts, AttrNumber balance)
{
	const Oid table = RelationGetRelid(accounts);

	if (pg_class_aclcheck(table, GetUserId(), ACL_UPDATE) != ACLCHECK_OK &&
		pg_attribute_aclcheck(table, balance, GetUserId(), ACL_UPDATE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(accounts));
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

Oid owner_of_operator(Oid oper)
{
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(oper));
	const Oid owner = reinterpret_cast<Form_pg_operator>(GETSTRUCT(tuple))->oprowner;

	ReleaseSysCache(tuple);
	return owner;
}

/*
 * An operator that came with the type, in its schema. Somebody else who may
 * create there could plant one that runs with the caller's rights.
 */
Oid find_operator_of_type(const char *name, Oid type)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);

	const auto *form = reinterpret_cast<Form_pg_type>(GETSTRUCT(tuple));
	const Oid type_owner = form->typowner;
	const Oid oper = find_operator(get_namespace_name(form->typnamespace), name, type);

	ReleaseSysCache(tuple);
	if (!OidIsValid(oper))
		return InvalidOid;

	const Oid owner = owner_of_operator(oper);

	return owner == type_owner || superuser_arg(owner) ? oper : InvalidOid;
}

/* Adds or subtracts balances: the server's own operator, else one that came with the type. */
const char *find_arithmetic(const char *name, const Column &column)
{
	Oid oper = find_operator("pg_catalog", name, column.type);

	if (!OidIsValid(oper))
		oper = find_operator_of_type(name, column.type);
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
	const char *minus = find_arithmetic("-", balance);
	const char *plus = find_arithmetic("+", balance);
	const char *is_from = psprintf("t.%s %s $1", id.name, equal);
	const char *either = OidIsValid(get_array_type(id.type))
							 ? psprintf("t.%s %s ANY (ARRAY[$1, $2])", id.name, equal)
							 : psprintf("(%s OR t.%s %s $2)", is_from, id.name, equal);
	const char *amount =
		psprintf("CAST($3 AS %s)",
				 format_type_extended(balance.type, balance.typmod,
									  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	const char *less = psprintf("t.%s %s %s", balance.name, minus, amount);
	const char *more = psprintf("t.%s %s %s", balance.name, plus, amount);
	const char *new_balance = psprintf("CASE WHEN %s THEN %s ELSE %s END", is_from, less, more);
	const char *change = psprintf("CASE WHEN %s THEN t.%s %s (%s) ELSE (%s) %s t.%s END", is_from,
								  balance.name, minus, less, more, minus, balance.name);
	const char *checks =
		plan.arithmetic_is_exact
			? psprintf("CAST(%s AS pg_catalog.numeric)", amount)
			: psprintf("CAST(%s AS pg_catalog.numeric), CAST(%s AS pg_catalog.numeric)",
					   new_balance, change);

	plan.lock_and_read = prepare(psprintf("SELECT %s, CAST(t.%s AS pg_catalog.numeric), %s "
										  "FROM %s AS t WHERE %s FOR NO KEY UPDATE",
										  is_from, balance.name, checks, plan.table, either),
								 id.type);
	plan.update =
		prepare(psprintf("UPDATE %s AS t SET %s = %s WHERE %s "
						 "RETURNING %s, CAST(t.%s AS pg_catalog.numeric)",
						 plan.table, balance.name, new_balance, either, is_from, balance.name),
				id.type);
}

/* Types whose sums and differences are exact, or an error. */
bool ArithmeticIsExact(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID;
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
	plan->table_oid = RelationGetRelid(accounts);
	plan->balance_number = balance.number;
	plan->table = MemoryContextStrdup(context, table);
	plan->id_collation = id.collation;
	getTypeInputInfo(id.type, &function, &plan->id_input_parameter);
	fmgr_info_cxt(function, &plan->id_input, context);
	getTypeOutputInfo(id.type, &function, &varlena);
	fmgr_info_cxt(function, &plan->id_output, context);
	fmgr_info_cxt(get_opcode(id_type->eq_opr), &plan->id_equal, context);
	plan->id_prints_alike = PrintsAlike(id.type);
	plan->arithmetic_is_exact = ArithmeticIsExact(balance.type);
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

/* Drops what no longer holds, also for tables that are gone, but nothing in use. */
void drop_outdated_plans()
{
	HASH_SEQ_STATUS scan;

	hash_seq_init(&scan, kept_plans);
	while (auto *kept = static_cast<KeptPlan *>(hash_seq_search(&scan)))
	{
		if (kept->valid && kept->plan != nullptr)
			continue;
		if (kept->plan != nullptr)
		{
			kept->plan->superseded = true;
			if (kept->plan->users == 0)
				drop_plan(kept->plan);
		}
		hash_search(kept_plans, &kept->id, HASH_REMOVE, nullptr);
	}
}

/* Else the first use would plan, with the settings of whoever that is. */
void plan_now(SPIPlanPtr plan)
{
	ReleaseCachedPlan(SPI_plan_get_cached_plan(plan), CurrentResourceOwner);
}

/* Builds the plan for the first time, or again after a change of the catalogs. */
KeptPlan *build_kept_plan(const PlanId &plan_id, Relation accounts)
{
	const Column id = find_column(accounts, NameStr(plan_id.id_column));
	const Column balance = find_column(accounts, NameStr(plan_id.balance_column));

	if (id.number == balance.number)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("id_column and balance_column must differ")));
	drop_outdated_plans();

	auto *kept = static_cast<KeptPlan *>(hash_search(kept_plans, &plan_id, HASH_ENTER, nullptr));

	/* Valid before it is built, so that a change that comes meanwhile is not forgotten. */
	kept->plan = nullptr;
	kept->valid = true;
	kept->balance_type_hash = GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(balance.type));

	const int level = NewGUCNestLevel();

	/* The table's name is a part of the keys, and so must not be quoted at a session's whim. */
	set_setting_for_now("quote_all_identifiers", "off");
	/* Two rows are looked up. A plan is kept, so it must not depend on how small the table was. */
	set_setting_for_now("enable_seqscan", "off");
	set_setting_for_now("enable_bitmapscan", "off");
	/* Without an index the cost of a forbidden scan would call for compilation. */
	set_setting_for_now("jit", "off");
	kept->plan = build_plan(accounts, id, balance);
	plan_now(kept->plan->lock_and_read);
	plan_now(kept->plan->update);
	AtEOXact_GUC(true, level);
	return kept;
}

} // namespace

TransferPlan *use_transfer_plan(Relation accounts, const char *id_column,
								const char *balance_column)
{
	PlanId plan_id;

	if (kept_plans == nullptr)
		create_kept_plans();
	memset(&plan_id, 0, sizeof(plan_id));
	plan_id.table = RelationGetRelid(accounts);
	namestrcpy(&plan_id.id_column, id_column);
	namestrcpy(&plan_id.balance_column, balance_column);

	auto *kept = static_cast<KeptPlan *>(hash_search(kept_plans, &plan_id, HASH_FIND, nullptr));

	if (kept == nullptr || !kept->valid || kept->plan == nullptr)
		kept = build_kept_plan(plan_id, accounts);
	require_update_right(accounts, kept->plan->balance_number);
	kept->plan->users++;
	return kept->plan;
}

void release_transfer_plan(TransferPlan *plan)
{
	if (--plan->users == 0 && plan->superseded)
		drop_plan(plan);
}

} // namespace cs
