/*
 * deadlock_fuzz.cpp - any text as the detail of a deadlock error.
 */
#include <climits>

#include "deadlock_text.hpp"
#include "fuzz.hpp"

namespace {

using fuzz::expect;

bool IsDigit(char c)
{
	return c >= '0' && c <= '9';
}

bool IsLetter(char c)
{
	const char lower = static_cast<char>(c | 0x20);

	return lower >= 'a' && lower <= 'z';
}

/* The number that begins the text, which loses it; anything above 32 bits is 2^32. */
uint64_t TakeNumber(std::string_view *text)
{
	uint64_t value = 0;

	while (!text->empty() && IsDigit(text->front()))
	{
		value = value * 10 + static_cast<uint64_t>(text->front() - '0');
		value = value > UINT32_MAX ? uint64_t{UINT32_MAX} + 1 : value;
		text->remove_prefix(1);
	}
	return value;
}

/* Is there a tag of ours at the front? Where it ends, and its fields. */
size_t TagAt(std::string_view text, uint64_t *fields)
{
	const size_t size = text.size();

	for (int i = 0; i < 4; i++)
	{
		if (text.size() < 2 || text[0] != "[,,,"[i] || !IsDigit(text[1]))
			return 0;
		text.remove_prefix(1);
		fields[i] = TakeNumber(&text);
		if (fields[i] > UINT32_MAX)
			return 0;
	}
	return !text.empty() && text[0] == ']' && (fields[3] >> 15) == 1 ? size - text.size() + 1 : 0;
}

int FirstNumber(std::string_view text)
{
	while (!text.empty() && !IsDigit(text.front()))
		text.remove_prefix(1);

	const uint64_t number = TakeNumber(&text);

	return number <= INT_MAX ? static_cast<int>(number) : 0;
}

void check_tag(std::string_view text, const cs::DeadlockLine &line)
{
	uint64_t fields[4];

	for (size_t at = text.find('['); at != std::string_view::npos; at = text.find('[', at + 1))
	{
		const size_t length = TagAt(text.substr(at), fields);

		if (length == 0)
			continue;
		expect(line.has_key && line.after_tag == at + length, "the first tag is found");
		expect(line.database == fields[0] && line.tag.field2 == fields[1] &&
				   line.tag.field3 == fields[2] && line.tag.field4 == fields[3],
			   "its fields are the numbers");
		return;
	}
	expect(!line.has_key, "there is no tag");
}

bool FindWord(std::string_view text, std::string_view word)
{
	for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1))
	{
		const std::string_view after = text.substr(at + word.size());

		if ((at == 0 || !IsLetter(text[at - 1])) && (after.empty() || !IsLetter(after.front())))
			return true;
	}
	return false;
}

/* A line that is read alone is read as it was. */
void check_again(std::string_view text, const cs::DeadlockLine &line)
{
	char alone[4096];
	const char *at = alone;
	cs::DeadlockLine again;

	alone[text.copy(alone, sizeof(alone) - 1)] = '\0';
	if (!cs::NextDeadlockLine(&at, &again))
		expect(text.empty(), "an empty line alone is none");
	else
		expect(again.size == line.size && again.pid == line.pid && again.has_key == line.has_key &&
				   again.tag == line.tag && again.after_tag == line.after_tag,
			   "a line alone is read in the same way");
}

void check_line(const cs::DeadlockLine &line)
{
	const std::string_view text(line.text, line.size);

	expect(text.find('\n') == std::string_view::npos, "a line has no newline");
	expect(line.pid == FirstNumber(text), "its process is its first number");
	check_tag(text, line);
	for (const char *word : {"ExclusiveLock", "ShareLock", "L"})
		expect(cs::HasWord(line, word) == FindWord(text, word), "its words are found");
	check_again(text, line);
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[4096];
	/* At the end of its memory: whoever reads further is seen to do so. */
	const size_t length = strnlen(reinterpret_cast<const char *>(data),
								  size < sizeof(text) ? size : sizeof(text) - 1);
	char *start = text + sizeof(text) - 1 - length;
	const char *at = start;
	cs::DeadlockLine line;

	std::memcpy(start, data, length);
	while (at < start + length)
	{
		const char *before = at;

		expect(cs::NextDeadlockLine(&at, &line), "there is a line before the end");
		expect(line.text == before && at == before + line.size + (before[line.size] == '\n'),
			   "lines follow each other");
		check_line(line);
	}
	expect(!cs::NextDeadlockLine(&at, &line) && at == start + length, "the end is the end");
	return 0;
}
