/*
 * arguments.cpp - reads and checks what SQL hands in.
 */
#include <climits>
#include <cstdlib>

#include "arguments.hpp"
#include "printable.hpp"
#include "settings.hpp"

namespace cs {

namespace {

[[noreturn]] void raise_null(const char *name)
{
	ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
}

/*
 * The seed of all keys: the same on a primary and its standbys, different
 * elsewhere, and never 0.
 */
uint64_t KeySeed()
{
	static uint64_t seed = 0;

	if (seed == 0)
		seed = GetSystemIdentifier();
	return seed;
}

/* Is the text there as it is, neither compressed nor stored elsewhere? */
bool IsPlain(const varlena *value)
{
	return VARATT_IS_4B_U(value) || (VARATT_IS_1B(value) && !VARATT_IS_1B_E(value));
}

/* The size of a text in bytes, found without detoasting it. */
Size text_size(Datum datum)
{
	const auto *value = reinterpret_cast<const varlena *>(DatumGetPointer(datum));

	return IsPlain(value) ? VARSIZE_ANY_EXHDR(value) : toast_raw_datum_size(datum) - VARHDRSZ;
}

/* What DatumGetTextPP does, without a call for the text that is plain, as nearly all are. */
const text *get_text(Datum datum)
{
	const auto *value = reinterpret_cast<const varlena *>(DatumGetPointer(datum));

	return IsPlain(value) ? value : DatumGetTextPP(datum);
}

Key checked_key(Datum datum, const char *name)
{
	/* Before detoasting: hashing a key of many megabytes could not be interrupted. */
	const Size size = text_size(datum);

	if (size == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be empty", name)));
	if (size > kMaxKeyBytes)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("%s is too long", name),
						errdetail("It has %zu bytes, and the limit is %zu.", size, kMaxKeyBytes)));

	const text *key = get_text(datum);

	return MakeKey(VARDATA_ANY(key), size, KeySeed());
}

/* A short text argument; NULL is an error. */
const text *read_word(FunctionCallInfo fcinfo, int index, const char *name)
{
	require_not_null(fcinfo, index, name);
	return get_text(PG_GETARG_DATUM(index));
}

void check_timeout(int timeout_ms)
{
	if (timeout_ms < -1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("timeout_ms must not be below -1: %d", timeout_ms),
						errhint("It is in milliseconds; 0 does not wait, -1 waits without "
								"limit, null stands for concurrency_safe.default_timeout.")));
}

} // namespace

void require_lockable()
{
	if (RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cannot lock keys while recovery is in progress"),
						errdetail("A lock on a standby would exclude nobody on the primary."),
						errhint("Connect to the primary.")));
	if (IsInParallelMode())
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("cannot lock keys during a parallel operation"),
						errhint("Mark functions that lock keys as PARALLEL UNSAFE.")));
}

void require_not_null(FunctionCallInfo fcinfo, int index, const char *name)
{
	if (PG_ARGISNULL(index))
		raise_null(name);
}

Key read_key(FunctionCallInfo fcinfo, int index, const char *name)
{
	require_not_null(fcinfo, index, name);
	return checked_key(PG_GETARG_DATUM(index), name);
}

Key KeyOf(const char *bytes, size_t size)
{
	return MakeKey(bytes, size, KeySeed());
}

Key make_key(const char *text)
{
	return checked_key(CStringGetTextDatum(text), "key");
}

Key make_key(const text *key)
{
	return checked_key(PointerGetDatum(key), "key");
}

LOCKMODE read_mode(FunctionCallInfo fcinfo, int index)
{
	const text *name = read_word(fcinfo, index, "mode");

	return mode_from_name(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

Scope read_scope(FunctionCallInfo fcinfo, int index)
{
	const text *name = read_word(fcinfo, index, "scope");
	const Scope scope = scope_from_name(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));

	if (scope == Scope::kSession && !session_locks)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("locks in session scope are disabled"),
				 errhint("Use transaction scope, or set concurrency_safe.session_locks to on.")));
	return scope;
}

int read_timeout(FunctionCallInfo fcinfo, int index)
{
	if (PG_ARGISNULL(index))
		return default_timeout;

	const int timeout_ms = PG_GETARG_INT32(index);

	check_timeout(timeout_ms);
	return timeout_ms;
}

int timeout_from_text(const char *text)
{
	char *end;

	errno = 0;
	const long timeout_ms = strtol(text, &end, 10);

	if (end == text || *end != '\0' || errno != 0 || timeout_ms > INT_MAX || timeout_ms < INT_MIN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout_ms must be an integer: \"%s\"", printable(text, strlen(text)))));
	check_timeout(static_cast<int>(timeout_ms));
	return static_cast<int>(timeout_ms);
}

Requests read_keys(FunctionCallInfo fcinfo, int index, LOCKMODE mode)
{
	require_not_null(fcinfo, index, "keys");

	ArrayType *array = PG_GETARG_ARRAYTYPE_P(index);
	Datum *elements;
	bool *nulls;
	int count;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("keys must be an array of one dimension, not %d", ARR_NDIM(array))));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);

	auto *all = static_cast<LockRequest *>(MemoryContextAllocHuge(
		CurrentMemoryContext, Max(1, static_cast<Size>(count)) * sizeof(LockRequest)));

	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			raise_null("an element of keys");
		all[i] = MakeRequest(checked_key(elements[i], "key"), mode, i);
	}
	return {all, count};
}

Requests read_path(FunctionCallInfo fcinfo, int index, LOCKMODE mode)
{
	const Key path = read_key(fcinfo, index, "path");
	const size_t separator_size = strlen(key_separator);
	auto *all = static_cast<LockRequest *>(palloc((path.size + 1) * sizeof(LockRequest)));
	size_t end = 0;
	int count = 0;

	do
	{
		end = NextPathEnd(path.bytes, path.size, key_separator, separator_size, end);
		if (end == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("path must not have an empty segment"),
							errdetail("Segments are separated by \"%s\" "
									  "(concurrency_safe.key_separator).",
									  key_separator)));
		all[count] = MakeRequest(MakeKey(path.bytes, end, KeySeed()), AncestorMode(mode), count);
		count++;
	} while (end < path.size);
	all[count - 1].mode = mode;
	return {all, count};
}

} // namespace cs
