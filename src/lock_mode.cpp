/*
 * lock_mode.cpp - one table of modes, one of scopes.
 */
#include <cstring>
#include <string_view>

#include "lock_mode.hpp"
#include "printable.hpp"

namespace cs {

namespace {

struct ModeNames
{
	LOCKMODE mode;
	std::string_view name;
	std::string_view short_name;
};

constexpr ModeNames kModes[] = {
	{kExclusive, "exclusive", "X"},
	{kShared, "shared", "S"},
	{kIntentShared, "intent shared", "IS"},
	{kIntentExclusive, "intent exclusive", "IX"},
	{kSharedIntentExclusive, "shared intent exclusive", "SIX"},
};

/* A length known to the compiler spares the call of memcmp. */
template <size_t N> bool IsLiteral(const char *name, size_t size, const char (&literal)[N])
{
	return size == N - 1 && memcmp(name, literal, N - 1) == 0;
}

} // namespace

LOCKMODE mode_from_name(const char *name, size_t size)
{
	const std::string_view wanted(name, size);

	/* The default, which nearly every call has, before the search. */
	if (IsLiteral(name, size, "exclusive"))
		return kExclusive;
	for (const ModeNames &known : kModes)
		if (wanted == known.name || wanted == known.short_name)
			return known.mode;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized lock mode: \"%s\"", printable(name, size)),
			 errhint("Lock modes are \"exclusive\" (X), \"shared\" (S), \"intent shared\" (IS), "
					 "\"intent exclusive\" (IX) and \"shared intent exclusive\" (SIX).")));
}

Scope scope_from_name(const char *name, size_t size)
{
	if (IsLiteral(name, size, "transaction"))
		return Scope::kTransaction;
	if (IsLiteral(name, size, "session"))
		return Scope::kSession;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unrecognized lock scope: \"%s\"", printable(name, size)),
					errhint("Lock scopes are \"transaction\" and \"session\".")));
}

const char *ModeName(LOCKMODE mode)
{
	if (mode == kPermit)
		return "permit";
	for (const ModeNames &known : kModes)
		if (known.mode == mode)
			return known.name.data();
	return "unrecognized";
}

const char *ScopeName(Scope scope)
{
	return scope == Scope::kSession ? "session" : "transaction";
}

LOCKMODE AncestorMode(LOCKMODE mode)
{
	return mode == kShared || mode == kIntentShared ? kIntentShared : kIntentExclusive;
}

} // namespace cs
