/*
 * deadlock_text.cpp - a small parser. No PostgreSQL here.
 */
#include <climits>
#include <cstring>

#include "deadlock_text.hpp"

#ifdef POSTGRES_H
#error "deadlock_text.cpp has to compile without PostgreSQL"
#endif

namespace cs {

namespace {

bool IsDigit(char c)
{
	return c >= '0' && c <= '9';
}

bool IsLetter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Reads a number of at most 32 bits and moves behind it; false if there is none. */
bool ReadNumber(const char **at, const char *end, uint32_t *out)
{
	uint64_t value = 0;
	const char *start = *at;

	while (*at < end && IsDigit(**at) && value <= UINT32_MAX)
		value = value * 10 + static_cast<uint64_t>(*(*at)++ - '0');
	*out = static_cast<uint32_t>(value);
	return *at > start && value <= UINT32_MAX;
}

int FirstNumber(const char *at, const char *end)
{
	uint32_t number = 0;

	while (at < end && !IsDigit(*at))
		at++;
	return ReadNumber(&at, end, &number) && number <= INT_MAX ? static_cast<int>(number) : 0;
}

/* [database,field2,field3,field4] at this point, with a field 4 of ours? */
bool ReadTag(const char *at, const char *end, DeadlockLine *out)
{
	uint32_t fields[4];

	for (int i = 0; i < 4; i++)
	{
		if (at >= end || *at++ != (i == 0 ? '[' : ',') || !ReadNumber(&at, end, &fields[i]))
			return false;
	}
	if (at >= end || *at != ']' || fields[3] < 0x8000 || fields[3] > UINT16_MAX)
		return false;
	out->has_key = true;
	out->database = fields[0];
	out->tag = {fields[1], fields[2], static_cast<uint16_t>(fields[3])};
	out->after_tag = static_cast<size_t>(at + 1 - out->text);
	return true;
}

} // namespace

bool NextDeadlockLine(const char **text, DeadlockLine *out)
{
	const char *start = *text;
	const char *end = strchr(start, '\n');

	if (*start == '\0')
		return false;
	if (end == nullptr)
		end = start + strlen(start);
	*text = *end == '\n' ? end + 1 : end;
	*out = {start, static_cast<size_t>(end - start), FirstNumber(start, end), false, 0, {}, 0};
	for (const char *at = start; at < end && !ReadTag(at, end, out); at++)
		;
	return true;
}

bool HasWord(const DeadlockLine &line, const char *word)
{
	const size_t size = strlen(word);

	for (size_t i = 0; i + size <= line.size; i++)
		if (memcmp(line.text + i, word, size) == 0 && (i == 0 || !IsLetter(line.text[i - 1])) &&
			(i + size == line.size || !IsLetter(line.text[i + size])))
			return true;
	return false;
}

} // namespace cs
