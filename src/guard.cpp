/*
 * guard.cpp - cs_guard: a trigger that lets a row be written only under its key.
 *
 * It checks whether the session holds the key, and does not lock it where the
 * row is locked already: key after row, where everybody else takes the row
 * after the key, is a deadlock. Where nothing is locked yet (a row to be
 * inserted, a statement to begin) it may lock.
 */
#include "arguments.hpp"
#include "held.hpp"
#include "key_text.hpp"
#include "lock.hpp"
#include "printable.hpp"
#include "settings.hpp"

namespace cs {

namespace {

struct Guard
{
	const char *key_template;
	size_t template_size;
	bool acquire; /* else require */
	int timeout_ms;
};

/* The name of what the trigger is on, as it may appear in messages. */
char *table_name(const TriggerData &call)
{
	const char *name = RelationGetRelationName(call.tg_relation);

	return printable(name, strlen(name));
}

void describe_guard(void *arg)
{
	const auto &call = *static_cast<const TriggerData *>(arg);
	const char *name = call.tg_trigger->tgname;

	errcontext("guard \"%s\" on table \"%s\"", printable(name, strlen(name)), table_name(call));
}

const TriggerData *trigger_call(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("cs_guard must be called as a trigger"),
						errhint("CREATE TRIGGER ... EXECUTE FUNCTION cs_guard('stock:{sku}').")));
	return reinterpret_cast<const TriggerData *>(fcinfo->context);
}

[[noreturn]] void raise_wrong_arguments(const char *message)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg_internal("%s", message),
					errhint("cs_guard('template' [, 'require' | 'acquire' [, timeout_ms]])")));
}

bool acquire_from_word(const char *word)
{
	if (strcmp(word, "acquire") == 0)
		return true;
	if (strcmp(word, "require") != 0)
		raise_wrong_arguments(psprintf("cs_guard either requires or acquires a key: \"%s\"",
									   printable(word, strlen(word))));
	return false;
}

Guard read_guard(const Trigger &trigger)
{
	const int count = trigger.tgnargs;
	char **arguments = trigger.tgargs;

	if (count < 1 || count > 3)
		raise_wrong_arguments(psprintf("cs_guard takes one to three arguments, not %d", count));

	const bool acquire = count > 1 && acquire_from_word(arguments[1]);
	const int timeout_ms = count > 2 ? timeout_from_text(arguments[2]) : default_timeout;

	return {arguments[0], strlen(arguments[0]), acquire, timeout_ms};
}

/* Is no row that it concerns locked yet? */
bool IsBeforeRows(TriggerEvent event)
{
	return !TRIGGER_FIRED_AFTER(event) &&
		   (TRIGGER_FIRED_FOR_STATEMENT(event) || TRIGGER_FIRED_BY_INSERT(event));
}

/* Refuses triggers at moments at which the guard would not guard, or would deadlock. */
void check_moment(const TriggerData &call, const Guard &guard)
{
	const TriggerEvent event = call.tg_event;

	/* The key could be locked between the write and the check. */
	if (call.tg_trigger->tgdeferrable)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("a guard cannot be deferrable"),
				 errdetail("The key could be locked after the row was written.")));
	if (TRIGGER_FIRED_FOR_STATEMENT(event) && has_fields(guard.key_template, guard.template_size))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("template of a guard on statements must not have fields"),
						errdetail("A trigger FOR EACH STATEMENT is given no row."),
						errhint("Use FOR EACH ROW, or one key for the whole table.")));
	if (guard.acquire && !IsBeforeRows(event))
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a guard can lock keys only before a row is inserted or a statement begins"),
			 errdetail("Here a row may be locked already.  Locking its key after it inverts the "
					   "order of those who lock the key first, and deadlocks with them."),
			 errhint("Lock the key before the statement, and create the guard with "
					 "'require'.")));
}

/*
 * May whoever sent the statement see what rows of the table contain? A cascade
 * runs with the rights of the table's owner, and the error goes to the client.
 */
bool may_see_rows(Oid table)
{
	return pg_class_aclcheck(table, GetOuterUserId(), ACL_SELECT) == ACLCHECK_OK &&
		   check_enable_rls(table, GetOuterUserId(), true) != RLS_ENABLED;
}

/* Only where the key's name can be typed as it is shown. */
int hint_to_lock(const char *name, const Key &key)
{
	if (strlen(name) == key.size && memcmp(name, key.bytes, key.size) == 0)
		return errhint("In the same transaction, before the statement: SELECT cs_lock(%s).",
					   quote_literal_cstr(name));
	return errhint("Lock it in the same transaction, before the statement.");
}

/* A key that is not held in exclusive mode. */
[[noreturn]] void raise_not_held(const TriggerData &call, const Guard &guard, const Key &key)
{
	const LOCKMODE held = StrongestHeldMode(key.tag);
	const char *name = may_see_rows(RelationGetRelid(call.tg_relation))
						   ? printable(key.bytes, key.size)
						   : printable(guard.key_template, guard.template_size);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("key \"%s\" must be locked to write to table \"%s\"", name, table_name(call)),
			 held == NoLock
				 ? errdetail("This session does not hold the key.")
				 : errdetail("This session holds the key in %s mode only.", ModeName(held)),
			 hint_to_lock(name, key), errtable(call.tg_relation)));
}

/* What the guard is for, with the text of a key. */
void guard_key(const TriggerData &call, const Guard &guard, const KeyText &text)
{
	const Key key = KeyOf(text.bytes, text.size);

	if (HeldByThisSession(LockTag(key.tag), kExclusive))
		return;
	if (!guard.acquire)
		raise_not_held(call, guard, key);
	require_lockable();

	LockRequest request = MakeRequest(key, kExclusive);
	TimeBudget budget(guard.timeout_ms);

	take_locks(&request, 1, {Scope::kTransaction, OnTimeout::kRaise}, budget);
}

void write_row_key(const TriggerData &call, const Guard &guard, HeapTuple row, KeyText &key)
{
	const KeySource source = {
		row, RelationGetDescr(call.tg_relation),
		/* The old row of an UPDATE or DELETE is complete. */
		TRIGGER_FIRED_BEFORE(call.tg_event) &&
			(TRIGGER_FIRED_BY_INSERT(call.tg_event) || row == call.tg_newtuple),
		nullptr};

	write_key_text(guard.key_template, guard.template_size, source, key);
}

/* The row as it is, and for an UPDATE as it will be. */
void guard_row(const TriggerData &call, const Guard &guard)
{
	KeyText key;
	KeyText new_key;

	write_row_key(call, guard, call.tg_trigtuple, key);
	guard_key(call, guard, key);
	if (!TRIGGER_FIRED_BY_UPDATE(call.tg_event))
		return;
	write_row_key(call, guard, call.tg_newtuple, new_key);
	if (new_key.size != key.size || memcmp(new_key.bytes, key.bytes, key.size) != 0)
		guard_key(call, guard, new_key);
}

void guard_statement(const TriggerData &call, const Guard &guard)
{
	KeyText key;

	write_key_text(guard.key_template, guard.template_size, {}, key);
	guard_key(call, guard, key);
}

/* What a trigger returns to let a row pass as it is. */
HeapTuple ResultOf(const TriggerData &call)
{
	if (TRIGGER_FIRED_FOR_STATEMENT(call.tg_event) || TRIGGER_FIRED_AFTER(call.tg_event))
		return nullptr;
	return TRIGGER_FIRED_BY_UPDATE(call.tg_event) ? call.tg_newtuple : call.tg_trigtuple;
}

} // namespace

} // namespace cs

extern "C" {
CS_SQL_FUNCTION(cs_guard);
}

using namespace cs;

/* cs_guard(template, 'require' | 'acquire', timeout_ms) - a trigger; 55000 without the key. */
Datum cs_guard(PG_FUNCTION_ARGS)
{
	const TriggerData *call = trigger_call(fcinfo);
	ErrorContextCallback description = {error_context_stack, describe_guard,
										const_cast<TriggerData *>(call)};

	error_context_stack = &description;
	const Guard guard = read_guard(*call->tg_trigger);

	check_moment(*call, guard);
	if (TRIGGER_FIRED_FOR_ROW(call->tg_event))
		guard_row(*call, guard);
	else
		guard_statement(*call, guard);
	error_context_stack = description.previous;
	PG_RETURN_POINTER(ResultOf(*call));
}
