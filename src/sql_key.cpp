/*
 * sql_key.cpp - cs_key: the text of a key from a template and a row or object.
 */
#include "arguments.hpp"
#include "key_text.hpp"

namespace cs {

namespace {

/* More than that is no template: reading it could not be interrupted. */
constexpr Size kMaxTemplateBytes = 16 * kMaxKeyBytes;

const text *read_template(FunctionCallInfo fcinfo)
{
	require_not_null(fcinfo, 0, "template");

	const Size size = toast_raw_datum_size(PG_GETARG_DATUM(0)) - VARHDRSZ;

	if (size > kMaxTemplateBytes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("template is too long"),
				 errdetail("It has %zu bytes, and the limit is %zu.", size, kMaxTemplateBytes)));
	return PG_GETARG_TEXT_PP(0);
}

text *make_text(const text *key_template, const KeySource &source)
{
	KeyText key;

	write_key_text(VARDATA_ANY(key_template), VARSIZE_ANY_EXHDR(key_template), source, key);
	return cstring_to_text_with_len(key.bytes, static_cast<int>(key.size));
}

text *make_text_from_row(const text *key_template, HeapTupleHeader row)
{
	TupleDesc columns =
		lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
	HeapTupleData tuple = {};

	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_data = row;

	text *key = make_text(key_template, {&tuple, columns, false, nullptr});

	ReleaseTupleDesc(columns);
	return key;
}

text *make_text_from_object(const text *key_template, Jsonb *object)
{
	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("source must be a jsonb object"),
				 JB_ROOT_IS_SCALAR(object) ? errdetail("It is a jsonb scalar.")
										   : errdetail("It is a jsonb array.")));
	return make_text(key_template, {nullptr, nullptr, false, object});
}

} // namespace

} // namespace cs

extern "C" {
CS_SQL_FUNCTION(cs_key);
}

using namespace cs;

/* cs_key(template, source) - the template with {name} replaced by the source's fields. */
Datum cs_key(PG_FUNCTION_ARGS)
{
	const text *key_template = read_template(fcinfo);
	const Oid given = get_fn_expr_argtype(fcinfo->flinfo, 1);

	require_not_null(fcinfo, 1, "source");
	if (!OidIsValid(given))
		elog(ERROR, "could not determine the type of the source");

	const Oid type = getBaseType(given);

	if (type_is_rowtype(type))
		PG_RETURN_TEXT_P(make_text_from_row(key_template, PG_GETARG_HEAPTUPLEHEADER(1)));
	if (type == JSONBOID)
		PG_RETURN_TEXT_P(make_text_from_object(key_template, PG_GETARG_JSONB_P(1)));
	ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
					errmsg("source must be a row or jsonb, not %s", format_type_be(given)),
					errhint("Hand in a row of a table, ROW(...), or "
							"jsonb_build_object('name', value).")));
}
