/*
 * lock_statement.cpp - takes the relations of schema cs_key out of a LOCK
 * statement and locks them as keys.
 *
 * That schema belongs to the extension and is empty: where this library is not
 * loaded, the statement fails because there is no such relation.
 */
#include "lock_statement.hpp"
#include "arguments.hpp"
#include "lock.hpp"
#include "printable.hpp"
#include "settings.hpp"

namespace cs {

namespace {

constexpr char kSchema[] = "cs_key";
constexpr char kExtension[] = "concurrency_safe";

bool NamesKey(const RangeVar *relation)
{
	return relation->schemaname != nullptr && strcmp(relation->schemaname, kSchema) == 0;
}

int CountKeys(const LockStmt *statement)
{
	const ListCell *cell;
	int keys = 0;

	foreach (cell, statement->relations)
		keys += NamesKey(static_cast<const RangeVar *>(lfirst(cell)));
	return keys;
}

/* The schema, if it is the extension's and not a user's of the same name. */
Oid find_key_schema()
{
	const Oid schema = get_namespace_oid(kSchema, true);
	const Oid extension = get_extension_oid(kExtension, true);

	if (!OidIsValid(schema) || !OidIsValid(extension) ||
		getExtensionOfObject(NamespaceRelationId, schema) != extension)
		return InvalidOid;
	return schema;
}

/* Table lock modes whose conflicts are those of the modes of keys; the default is the strongest. */
LOCKMODE key_mode(LOCKMODE mode)
{
	switch (mode)
	{
		case AccessExclusiveLock:
		case ExclusiveLock:
			return kExclusive;
		case ShareLock:
			return kShared;
		case RowShareLock:
			return kIntentShared;
		case RowExclusiveLock:
			return kIntentExclusive;
		case ShareRowExclusiveLock:
			return kSharedIntentExclusive;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a key cannot be locked in %s mode",
							GetLockmodeName(DEFAULT_LOCKMETHOD, mode)),
					 errhint("Lock it IN EXCLUSIVE, SHARE, ROW SHARE, ROW EXCLUSIVE or SHARE "
							 "ROW EXCLUSIVE MODE.")));
	}
}

void check_database(const RangeVar *relation)
{
	if (relation->catalogname != nullptr &&
		strcmp(relation->catalogname, get_database_name(MyDatabaseId)) != 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cross-database references are not implemented: \"%s.%s.%s\"",
							   relation->catalogname, relation->schemaname, relation->relname)));
}

/* quote_identifier spares the quotes where it can; here they matter. */
const char *in_quotes(const char *name)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '"');
	for (; *name != '\0'; name++)
	{
		if (*name == '"')
			appendStringInfoChar(&out, '"');
		appendStringInfoChar(&out, *name);
	}
	appendStringInfoChar(&out, '"');
	return out.data;
}

constexpr char kSpace[] = " \t\r\n\f\v";

/* Where a part of a qualified name ends, which is in quotes or not. */
const char *EndOfPart(const char *part)
{
	if (*part != '"')
		return part + strcspn(part, " \t\r\n\f\v.,;\"");
	for (part++; *part != '\0'; part++)
		if (*part == '"' && *++part != '"')
			return part;
	return part;
}

/* Is the last part of the qualified name exactly that text? Not if there are comments in it. */
bool LastPartIs(const char *name, const char *text)
{
	for (;;)
	{
		const char *end = EndOfPart(name);
		const char *next = end + strspn(end, kSpace);

		if (*next != '.')
			return static_cast<Size>(end - name) == strlen(text) &&
				   strncmp(name, text, strlen(text)) == 0;
		name = next + 1 + strspn(next + 1, kSpace);
	}
}

/*
 * The parser cuts a longer identifier, between two characters, and tells only
 * the log. One that may have been cut is whole if that is what the statement
 * has in quotes.
 */
bool may_be_cut(const RangeVar *relation, const char *query)
{
	const auto shortest = static_cast<Size>(NAMEDATALEN - pg_database_encoding_max_length());
	const Size size = strlen(relation->relname);

	if (size < shortest)
		return false;
	return size >= NAMEDATALEN - 1 || relation->location < 0 ||
		   !LastPartIs(query + relation->location, in_quotes(relation->relname));
}

Key key_of_relation(const RangeVar *relation, const char *query)
{
	check_database(relation);
	if (may_be_cut(relation, query))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" is too long for LOCK",
						printable(relation->relname, strlen(relation->relname))),
				 errdetail("An identifier of %d bytes or more may have been cut.", NAMEDATALEN - 1),
				 errhint("Use the function cs_lock.")));
	return make_key(relation->relname);
}

void check_rights(Oid schema)
{
	const AclResult result = check_schema_usage(schema, GetUserId());

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_SCHEMA, kSchema);
}

void lock_keys(const LockStmt *statement, const char *query)
{
	const int wanted = list_length(statement->relations);
	const LOCKMODE mode = key_mode(statement->mode);
	auto *requests =
		static_cast<LockRequest *>(palloc(static_cast<Size>(wanted) * sizeof(LockRequest)));
	const ListCell *cell;
	int count = 0;

	foreach (cell, statement->relations)
	{
		requests[count] = MakeRequest(
			key_of_relation(static_cast<const RangeVar *>(lfirst(cell)), query), mode, count);
		count++;
	}
	count = SortAndFold(requests, count);

	TimeBudget budget(statement->nowait ? 0 : default_timeout);

	/* What looked into the catalogs until here took a snapshot, which is not to be held in a wait.
	 */
	InvalidateCatalogSnapshot();
	take_locks(requests, count, {Scope::kTransaction, OnTimeout::kRaise}, budget);
}

/* The statement without its keys, for whoever else is interested in it. */
PlannedStmt *without_relations(const PlannedStmt *planned)
{
	auto *rest = makeNode(PlannedStmt);
	auto *nothing = makeNode(LockStmt);

	*rest = *planned;
	*nothing = *reinterpret_cast<const LockStmt *>(planned->utilityStmt);
	nothing->relations = NIL;
	rest->utilityStmt = reinterpret_cast<Node *>(nothing);
	return rest;
}

} // namespace

PlannedStmt *lock_keys_of_statement(PlannedStmt *planned, const char *query, bool top_level)
{
	const auto *statement = reinterpret_cast<const LockStmt *>(planned->utilityStmt);
	const int keys = CountKeys(statement);
	const Oid schema = keys == 0 ? InvalidOid : find_key_schema();

	if (!OidIsValid(schema))
		return planned;
	if (keys < list_length(statement->relations))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("keys and tables cannot be locked in one statement")));
	check_rights(schema);
	require_lockable();
	RequireTransactionBlock(top_level, "LOCK TABLE");
	lock_keys(statement, query);
	return without_relations(planned);
}

} // namespace cs
