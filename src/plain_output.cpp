/*
 * plain_output.cpp - output functions under fixed settings.
 */
#include "plain_output.hpp"

namespace cs {

bool PrintsAlike(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NAMEOID:
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

char *write_plainly(FmgrInfo *output, Datum value, bool prints_alike)
{
	static const char *const settings[][2] = {
		{"bytea_output", "hex"},       {"datestyle", "ISO"}, {"extra_float_digits", "1"},
		{"intervalstyle", "postgres"}, {"lc_monetary", "C"}, {"quote_all_identifiers", "off"},
		{"search_path", "pg_catalog"}, {"timezone", "UTC"}};

	if (prints_alike)
		return OutputFunctionCall(output, value);

	const int level = NewGUCNestLevel();

	for (const auto &setting : settings)
		set_setting_for_now(setting[0], setting[1]);

	char *printed = OutputFunctionCall(output, value);

	AtEOXact_GUC(true, level);
	return printed;
}

} // namespace cs
