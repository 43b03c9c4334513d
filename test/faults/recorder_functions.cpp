/*
 * recorder_functions.cpp - what SQL calls to write records; recorder.sql says what for.
 */
#include <cstring>
#include <string_view>

#include "recorder.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

using namespace faults;

namespace {

uint64 random_state;

std::string_view TextOf(Datum value)
{
	const text *detoasted = DatumGetTextPP(value);

	return {VARDATA_ANY(detoasted), VARSIZE_ANY_EXHDR(detoasted)};
}

/* Keys are known by a hash of their names (FNV-1a). */
uint32 NumberOf(std::string_view key)
{
	uint32 hash = 2166136261;

	for (const char character : key)
		hash = (hash ^ static_cast<unsigned char>(character)) * 16777619;
	return hash;
}

struct ModeName
{
	uint8 number;
	std::string_view name;
	std::string_view short_name;
};

/* 1 to 5; 0 is none. */
constexpr ModeName kModes[] = {
	{1, "intent shared", "IS"}, {2, "intent exclusive", "IX"},
	{3, "shared", "S"},         {4, "shared intent exclusive", "SIX"},
	{5, "exclusive", "X"},
};
constexpr uint8 kIntentShared = 1, kIntentExclusive = 2, kShared = 3;

uint8 mode_of(Datum value)
{
	const std::string_view name = TextOf(value);

	for (const ModeName &mode : kModes)
		if (name == mode.name || name == mode.short_name)
			return mode.number;
	elog(ERROR, "unrecognized mode");
}

uint8 scope_of(Datum value)
{
	return TextOf(value) == "session" ? 1 : 0;
}

void count_grant()
{
	history->grants.fetch_add(1, std::memory_order_relaxed);
}

void record_grant(std::string_view key, uint8 mode, uint8 scope)
{
	count_grant();
	if (scope == 0)
		has_recorded = true;
	record(kGrant, {.mode = mode, .scope = scope, .level = Level(), .key = NumberOf(key)});
}

/* Calls visit for the path and each of its ancestors, with the mode that it is locked in. */
template <typename Visit> void visit_path(std::string_view path, uint8 mode, Visit visit)
{
	const uint8 above = mode == kShared || mode == kIntentShared ? kIntentShared : kIntentExclusive;

	for (size_t end = path.find(':'); end != path.npos; end = path.find(':', end + 1))
		visit(path.substr(0, end), above);
	visit(path, mode);
}

struct Texts
{
	Datum *all;
	int count;
};

Texts texts_of(Datum array)
{
	Texts texts;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &texts.all,
					  nullptr, &texts.count);
	return texts;
}

/* SplitMix64, a public-domain generator by S. Vigna: the same numbers on all machines. */
uint64 NextRandom()
{
	uint64 value = random_state += 0x9e3779b97f4a7c15;

	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
	value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
	return value ^ (value >> 31);
}

} // namespace

#define RECORDER_FUNCTION(name)                                                                    \
	extern "C" {                                                                                   \
	PG_FUNCTION_INFO_V1(name);                                                                     \
	}                                                                                              \
	Datum name([[maybe_unused]] PG_FUNCTION_ARGS)

RECORDER_FUNCTION(history_grant)
{
	const bool granted = PG_GETARG_BOOL(0);

	if (granted)
		record_grant(TextOf(PG_GETARG_DATUM(1)), mode_of(PG_GETARG_DATUM(2)),
					 scope_of(PG_GETARG_DATUM(3)));
	else
		record(kRefusal, {.key = NumberOf(TextOf(PG_GETARG_DATUM(1)))});
	PG_RETURN_BOOL(granted);
}

RECORDER_FUNCTION(history_grants)
{
	const bool granted = PG_GETARG_BOOL(0);
	const Texts keys = texts_of(PG_GETARG_DATUM(1));

	for (int i = 0; granted && i < keys.count; i++)
	{
		/* The library folds duplicates: each key is taken once. */
		bool seen = false;

		for (int j = 0; j < i && !seen; j++)
			seen = TextOf(keys.all[j]) == TextOf(keys.all[i]);
		if (!seen)
			record_grant(TextOf(keys.all[i]), mode_of(PG_GETARG_DATUM(2)),
						 scope_of(PG_GETARG_DATUM(3)));
	}
	if (!granted || keys.count == 0)
		record(kRefusal, {});
	PG_RETURN_BOOL(granted);
}

RECORDER_FUNCTION(history_grant_path)
{
	const bool granted = PG_GETARG_BOOL(0);

	if (granted)
		visit_path(TextOf(PG_GETARG_DATUM(1)), mode_of(PG_GETARG_DATUM(2)),
				   [&](std::string_view key, uint8 mode) {
					   record_grant(key, mode, scope_of(PG_GETARG_DATUM(3)));
				   });
	else
		record(kRefusal, {.key = NumberOf(TextOf(PG_GETARG_DATUM(1)))});
	PG_RETURN_BOOL(granted);
}

RECORDER_FUNCTION(history_release)
{
	record(kRelease,
		   {.mode = mode_of(PG_GETARG_DATUM(1)), .key = NumberOf(TextOf(PG_GETARG_DATUM(0)))});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_release_path)
{
	uint32 count = 0;

	visit_path(TextOf(PG_GETARG_DATUM(0)), mode_of(PG_GETARG_DATUM(1)),
			   [&](std::string_view key, uint8 mode) {
				   record(kRelease, {.mode = mode, .key = NumberOf(key), .extra = count++});
			   });
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_released)
{
	record(kReleased, {.a = PG_GETARG_BOOL(1)});
	PG_RETURN_BOOL(PG_GETARG_BOOL(1));
}

RECORDER_FUNCTION(history_release_all)
{
	record(kReleaseAll, {});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_released_all)
{
	record(kReleasedAll, {.a = PG_GETARG_INT32(1)});
	PG_RETURN_INT32(PG_GETARG_INT32(1));
}

RECORDER_FUNCTION(history_held_mode)
{
	const uint8 mode = PG_ARGISNULL(0) ? 0 : mode_of(PG_GETARG_DATUM(0));

	record(kHeldMode, {.mode = mode, .key = NumberOf(TextOf(PG_GETARG_DATUM(1)))});
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

RECORDER_FUNCTION(history_permit)
{
	const bool granted = PG_GETARG_BOOL(0);

	if (granted)
	{
		count_grant();
		has_recorded = true;
	}
	record(granted ? kPermit : kRefusal, {.level = Level(),
										  .key = NumberOf(TextOf(PG_GETARG_DATUM(1))),
										  .extra = PG_GETARG_UINT32(2)});
	PG_RETURN_BOOL(granted);
}

RECORDER_FUNCTION(history_lease)
{
	const Kind kinds[] = {kLeaseAsked, kLease, kRenewed, kLeaseEnd};

	record(kinds[PG_GETARG_INT32(0)], {.key = NumberOf(TextOf(PG_GETARG_DATUM(1))),
									   .extra = PG_GETARG_UINT32(4),
									   .a = PG_GETARG_INT64(2),
									   .b = PG_GETARG_TIMESTAMPTZ(3)});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_checked)
{
	has_recorded = true;
	record(
		kChecked,
		{.level = Level(), .key = NumberOf(TextOf(PG_GETARG_DATUM(1))), .a = PG_GETARG_INT64(2)});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_prepare)
{
	prepared_name = PG_GETARG_INT64(0);
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_finish_prepared)
{
	record(kFinishPrepared, {.a = PG_GETARG_INT64(0)});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_error)
{
	const std::string_view state = TextOf(PG_GETARG_DATUM(0));
	int64 packed = 0;

	memcpy(&packed, state.data(), Min(state.size(), 5));
	history->errors.fetch_add(1, std::memory_order_relaxed);
	record(kError, {.a = packed});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_promoted)
{
	const ArrayType *survivors = PG_GETARG_ARRAYTYPE_P(0);
	const auto *names = reinterpret_cast<const int64 *>(ARR_DATA_PTR(survivors));
	const int count = ArrayGetNItems(ARR_NDIM(survivors), ARR_DIMS(survivors));

	record(kPromoted, {.extra = static_cast<uint32>(server_number)});
	for (int i = 0; i < count; i++)
		record(kSurvivor, {.a = names[i]});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_finish)
{
	record(kFinish, {});
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(history_seed)
{
	random_state = static_cast<uint64>(PG_GETARG_INT64(0));
	PG_RETURN_BOOL(true);
}

RECORDER_FUNCTION(draw)
{
	PG_RETURN_INT32(static_cast<int32>(NextRandom() % PG_GETARG_UINT32(0)));
}
