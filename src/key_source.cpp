/*
 * key_source.cpp - looks fields up by name and prints them.
 */
#include "key_source.hpp"
#include "plain_output.hpp"
#include "printable.hpp"

namespace cs {

namespace {

/* So many names are listed where a field does not exist. */
constexpr int kListedNames = 30;

struct NameList
{
	StringInfoData text;
	int count;
};

void add_name(NameList &list, const char *name, size_t size)
{
	list.count++;
	if (list.count <= kListedNames)
		appendStringInfo(&list.text, "%s\"%s\"", list.count == 1 ? "" : ", ",
						 printable(name, size));
}

void list_columns(NameList &list, TupleDesc columns)
{
	for (int i = 0; i < columns->natts; i++)
	{
		const FormData_pg_attribute *column = TupleDescAttr(columns, i);

		if (!column->attisdropped)
			add_name(list, NameStr(column->attname), strlen(NameStr(column->attname)));
	}
}

void list_members(NameList &list, Jsonb *object)
{
	JsonbIterator *members = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue value;

	/* Not into the values: those that hold others are given whole. */
	for (bool skip = false; (token = JsonbIteratorNext(&members, &value, skip)) != WJB_DONE;
		 skip = true)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY)
			add_name(list, value.val.string.val, static_cast<size_t>(value.val.string.len));
	}
}

[[noreturn]] void raise_no_field(const KeySource &source, const char *name, size_t size)
{
	NameList list = {};

	initStringInfo(&list.text);
	if (source.columns != nullptr)
		list_columns(list, source.columns);
	else if (source.object != nullptr)
		list_members(list, source.object);
	if (list.count > kListedNames)
		appendStringInfo(&list.text, " and %d more", list.count - kListedNames);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("field \"%s\" of the template does not exist", printable(name, size)),
			 list.count == 0 ? errdetail("There are no fields.")
							 : errdetail("There are the fields %s.", list.text.data),
			 errhint("Names are compared as they are written, upper and lower case included.")));
}

[[noreturn]] void raise_null_field(const char *name, size_t size, bool generated_later)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("field \"%s\" of the template must not be null", printable(name, size)),
			 generated_later
				 ? errdetail("Generated columns are computed after BEFORE triggers.")
				 : errdetail("A key that is made from a null would not be the key of anything."),
			 generated_later ? errhint("Use an AFTER trigger, or the columns it is generated from.")
							 : 0));
}

/* The index of the live column of that name. */
int find_column(const KeySource &source, const char *name, size_t size)
{
	int found = -1;

	for (int i = 0; i < source.columns->natts; i++)
	{
		const FormData_pg_attribute *column = TupleDescAttr(source.columns, i);
		const char *its_name = NameStr(column->attname);

		if (column->attisdropped || strlen(its_name) != size || memcmp(its_name, name, size) != 0)
			continue;
		if (found >= 0)
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_COLUMN),
					 errmsg("field \"%s\" of the template is ambiguous", printable(name, size)),
					 errdetail("The row has more than one column of that name.")));
		found = i;
	}
	if (found < 0)
		raise_no_field(source, name, size);
	return found;
}

bool IsText(Oid type)
{
	return type == TEXTOID || type == VARCHAROID || type == BPCHAROID;
}

FieldText read_column(const KeySource &source, const char *name, size_t size)
{
	const int index = find_column(source, name, size);
	const FormData_pg_attribute *column = TupleDescAttr(source.columns, index);
	const bool later = source.generated_later && column->attgenerated != '\0';
	bool is_null = later;
	const Datum value = later ? 0 : heap_getattr(source.row, index + 1, source.columns, &is_null);

	if (is_null)
		raise_null_field(name, size, later);

	const Oid type = getBaseType(column->atttypid);
	Oid function;
	bool varlena;
	FmgrInfo output;

	if (IsText(type) && toast_raw_datum_size(value) - VARHDRSZ > kMaxKeyBytes)
		raise_field_too_long(name, size);
	getTypeOutputInfo(type, &function, &varlena);
	fmgr_info(function, &output);

	const char *printed = write_plainly(&output, value, PrintsAlike(type));

	return {printed, strlen(printed)};
}

FieldText PrintString(const JsonbValue &value)
{
	return {value.val.string.val, static_cast<size_t>(value.val.string.len)};
}

FieldText read_member(const KeySource &source, const char *name, size_t size)
{
	const JsonbValue *value =
		getKeyJsonValueFromContainer(&source.object->root, name, static_cast<int>(size), nullptr);
	const char *printed;

	if (value == nullptr)
		raise_no_field(source, name, size);
	switch (value->type)
	{
		case jbvNull:
			raise_null_field(name, size, false);
		case jbvString:
			return PrintString(*value);
		case jbvBool:
			printed = value->val.boolean ? "true" : "false";
			break;
		case jbvNumeric:
			printed = DatumGetCString(
				DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
			break;
		case jbvBinary:
			printed = JsonbToCString(nullptr, value->val.binary.data, value->val.binary.len);
			break;
		default:
			elog(ERROR, "unexpected kind of jsonb value: %d", static_cast<int>(value->type));
	}
	return {printed, strlen(printed)};
}

} // namespace

FieldText read_field(const KeySource &source, const char *name, size_t size)
{
	if (source.columns != nullptr)
		return read_column(source, name, size);
	if (source.object != nullptr)
		return read_member(source, name, size);
	raise_no_field(source, name, size);
}

void raise_field_too_long(const char *name, size_t size)
{
	ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("key is too long"),
					errdetail("With field \"%s\" it has more than %zu bytes.",
							  printable(name, size), kMaxKeyBytes)));
}

} // namespace cs
