/*
 * deadlock_text_test.cpp - src/deadlock_text.cpp without a server. Prints TAP.
 *
 * The parser reads what PostgreSQL wrote in any of its languages, and it must
 * not leave the text whatever is in it: each text lies in a buffer of exactly
 * its size, so that the address sanitizer sees one byte too much.
 */
#include <climits>
#include <iterator>
#include <string>
#include <vector>

#include "deadlock_text.hpp"
#include "random.hpp"
#include "tap.hpp"

namespace {

using tap::is;
using tap::ok;

/* The text on one line, as the name of a check has to be. */
std::string on_one_line(const std::string &text)
{
	std::string line;

	for (const char c : text)
		line += c == '\n' ? "\\n" : std::string(1, c);
	return line;
}

/* The lines of a text, with the text that they point into. */
struct Parsed
{
	std::vector<char> text;
	std::vector<cs::DeadlockLine> lines;
};

Parsed parse(const std::string &text)
{
	Parsed parsed = {{text.c_str(), text.c_str() + text.size() + 1}, {}};
	const char *at = parsed.text.data();
	cs::DeadlockLine line;

	while (cs::NextDeadlockLine(&at, &line))
		parsed.lines.push_back(line);
	/* The end is not left again. */
	if (cs::NextDeadlockLine(&at, &line) || at != parsed.text.data() + text.size())
		parsed.lines.clear();
	return parsed;
}

/* A process, and the lock that it waits for: its fields, and what follows in the line. */
std::string description(uint64_t pid, const std::string &fields, const std::string &rest)
{
	std::string text = std::to_string(pid);

	return text.append(" waits for ").append(fields).append(" before '").append(rest).append("'");
}

/* What was understood of a line. */
std::string understood(const cs::DeadlockLine &line)
{
	const auto pid = static_cast<uint64_t>(line.pid);

	if (!line.has_key)
		return std::to_string(pid);
	return description(pid,
					   std::to_string(line.database) + "," + std::to_string(line.tag.field2) + "," +
						   std::to_string(line.tag.field3) + "," + std::to_string(line.tag.field4),
					   std::string(line.text, line.size).substr(line.after_tag));
}

/* The same for all lines, each in braces. */
std::string understood(const std::string &text)
{
	std::string all;

	for (const cs::DeadlockLine &line : parse(text).lines)
		all += "{" + understood(line) + "}";
	return all;
}

constexpr char kEnglish[] = "Process 4711 waits for ExclusiveLock on advisory lock "
							"[16384,1713400021,3231234567,43542]; blocked by process 4712.";
constexpr char kGerman[] = "Prozess 4711 wartet auf ExclusiveLock-Sperre auf Benutzersperre "
						   "[16384,1713400021,3231234567,43542]; blockiert von Prozess 4712.";
constexpr char kRussian[] = "Процесс 4711 ожидает в режиме ExclusiveLock блокировку "
							"\"рекомендательная блокировка [16384,1713400021,3231234567,43542]\"; "
							"заблокирован процессом 4712.";
constexpr char kJapanese[] = "プロセス 4711 は ExclusiveLock を アドバイザリ・ロック"
							 "[16384,1713400021,3231234567,43542] で待機していましたが、"
							 "プロセス 4712 でブロックされました";
constexpr char kKorean[] = "4711 프로세스가 ExclusiveLock 상태로 지연되고 있음(해당 작업: advisory "
						   "lock [16384,1713400021,3231234567,43542]); 4712 프로세스에 의해 "
						   "블록킹되었음";
constexpr char kChinese[] = "进程 4711 正在等待 咨询锁 [16384,1713400021,3231234567,43542] "
							"上的 ExclusiveLock；被进程 4712 阻塞。";

const char *const kDetails[] = {kEnglish, kGerman, kRussian, kJapanese, kKorean, kChinese};

void test_languages()
{
	const struct
	{
		const char *name, *text, *rest;
	} cases[] = {
		{"English", kEnglish, "; blocked by process 4712."},
		{"German", kGerman, "; blockiert von Prozess 4712."},
		{"Russian", kRussian, "\"; заблокирован процессом 4712."},
		{"Japanese", kJapanese, " で待機していましたが、プロセス 4712 でブロックされました"},
		{"Korean", kKorean, "); 4712 프로세스에 의해 블록킹되었음"},
		{"Chinese, the lock before its mode", kChinese, " 上的 ExclusiveLock；被进程 4712 阻塞。"},
	};

	for (const auto &c : cases)
	{
		is(understood(c.text),
		   std::string("{4711 waits for 16384,1713400021,3231234567,43542 before '") + c.rest +
			   "'}",
		   std::string("a key, ") + c.name);
		ok(cs::HasWord(parse(c.text).lines.at(0), "ExclusiveLock"),
		   std::string("its lock mode, ") + c.name);
	}
}

void test_other_locks()
{
	const char *const texts[] = {
		"Process 12 waits for ShareLock on transaction 742; blocked by process 13.",
		"Process 12 waits for ExclusiveLock on tuple (0,40000) of relation 16390 of database 5; "
		"blocked by process 13.",
		"Process 12 waits for AccessExclusiveLock on relation 16390 of database 5; blocked by "
		"process 13.",
		"Process 12 waits for ShareLock on virtual transaction 3/40000; blocked by process 13.",
		"Process 12 waits for ShareLock on speculative token 40000 of transaction 742; blocked by "
		"process 13.",
		"Process 12 waits for ExclusiveLock on advisory lock [5,0,1,1]; blocked by process 13.",
		"Process 12 waits for ExclusiveLock on advisory lock [5,40000,40000,2]; blocked by "
		"process 13.",
		"Process 12 waits for ExclusiveLock on advisory lock [5,0,1,29749]; blocked by process 13.",
	};

	for (const char *text : texts)
		is(understood(text), "{12}", std::string("no key: ") + text);
}

void test_tags()
{
	const struct
	{
		const char *text, *understood;
	} cases[] = {
		/* The fourth field is 16 bits with the top bit set, the others are 32. */
		{"1 [5,1,2,32767]", "{1}"},
		{"1 [5,1,2,32768]", "{1 waits for 5,1,2,32768 before ''}"},
		{"1 [5,1,2,65535]", "{1 waits for 5,1,2,65535 before ''}"},
		{"1 [5,1,2,65536]", "{1}"},
		{"1 [5,1,2,98304]", "{1}"},      /* 65536 + 32768 */
		{"1 [5,1,2,4295000064]", "{1}"}, /* 2^32 + 32768 */
		{"1 [0,0,0,40000]", "{1 waits for 0,0,0,40000 before ''}"},
		{"1 [4294967295,4294967295,4294967295,40000]",
		 "{1 waits for 4294967295,4294967295,4294967295,40000 before ''}"},
		{"1 [4294967296,1,2,40000]", "{1}"},
		{"1 [5,4294967296,2,40000]", "{1}"},
		{"1 [5,1,4294967296,40000]", "{1}"},
		{"1 [5,1,18446744073709551617,40000]", "{1}"}, /* 2^64 + 1 */
		{"1 [5,99999999999999999999999999999999999999999,2,40000]", "{1}"},
		{"1 [5,0000000000000000000001,2,40000]", "{1 waits for 5,1,2,40000 before ''}"},

		/* Nothing else looks like one. */
		{"1 [5,1,2]", "{1}"},
		{"1 [5,1,2,40000,6]", "{1}"},
		{"1 [,1,2,40000]", "{1}"},
		{"1 [5,1,,40000]", "{1}"},
		{"1 [5,1,2,]", "{1}"},
		{"1 [-5,1,2,40000]", "{1}"},
		{"1 [5,+1,2,40000]", "{1}"},
		{"1 [5, 1,2,40000]", "{1}"},
		{"1 [5,1,2,40000 ]", "{1}"},
		{"1 [5;1;2;40000]", "{1}"},
		{"1 (5,1,2,40000)", "{1}"},
		{"1 [0x5,1,2,40000]", "{1}"},

		/* Cut anywhere. */
		{"1 [5,1,2,40000", "{1}"},
		{"1 [5,1,2,", "{1}"},
		{"1 [5,1,2", "{1}"},
		{"1 [5,", "{1}"},
		{"1 [5", "{1}"},
		{"1 [", "{1}"},
		{"1 [5,1,2,40000\n]", "{1}{0}"},
		{"1 [5,1\n,2,40000]", "{1}{2}"},

		/* Alone, after something that is none, and the first of two. */
		{"[5,1,2,40000]", "{5 waits for 5,1,2,40000 before ''}"},
		{"1 [[5,1,2,40000]]", "{1 waits for 5,1,2,40000 before ']'}"},
		{"1 [5,1,[5,1,2,40000]", "{1 waits for 5,1,2,40000 before ''}"},
		{"1 [5,0,1,1] [5,1,2,40000]", "{1 waits for 5,1,2,40000 before ''}"},
		{"1 [5,1,2,40000] [6,3,4,50000]", "{1 waits for 5,1,2,40000 before ' [6,3,4,50000]'}"},
	};

	for (const auto &c : cases)
		is(understood(c.text), c.understood, "tag in " + on_one_line(c.text));
}

void test_processes()
{
	is(understood("Process 2147483647 waits"), "{2147483647}", "the greatest process");
	is(understood("Process 2147483648 waits for [5,1,2,40000]"),
	   "{0 waits for 5,1,2,40000 before ''}", "no process has such a number, the key is one");
	is(understood("Process 4294967297 waits"), "{0}", "nor is it cut to 32 bits");
	is(understood("Process 99999999999999999999999 12"), "{0}", "nor is another one taken");
	is(understood("Process waits"), "{0}", "no number at all");
	is(understood("7"), "{7}", "nothing but a number");
}

void test_lines()
{
	const std::string cycle = "Process 11 waits for ExclusiveLock on advisory lock [5,1,2,40000]; "
							  "blocked by process 12.\n"
							  "Process 12 waits for ShareLock on transaction 742; blocked by "
							  "process 13.\n"
							  "Process 13 waits for ShareLock on advisory lock [5,3,4,50000]; "
							  "blocked by process 11.";
	const std::string expected = "{11 waits for 5,1,2,40000 before '; blocked by process 12.'}"
								 "{12}"
								 "{13 waits for 5,3,4,50000 before '; blocked by process 11.'}";

	is(understood(cycle), expected, "a cycle of three");
	is(understood(cycle + "\n"), expected, "the newline at the end begins no line");
	is(understood(cycle + "\nProcess 11: SELECT cs_lock('a')"), expected + "{11}",
	   "a query, as in the log");
	is(understood(""), "", "no line");
	is(understood("\n"), "{0}", "an empty line");
	is(understood("\n\n1\n\n2\n\n"), "{0}{0}{1}{0}{2}{0}", "empty lines among others");
	is(understood("1\r\n2"), "{1}{2}", "a carriage return is part of the line");

	const Parsed parsed = parse("one\ntwo\n");
	ok(parsed.lines.size() == 2 && parsed.lines[0].text == parsed.text.data() &&
		   parsed.lines[0].size == 3 && parsed.lines[1].text == parsed.text.data() + 4 &&
		   parsed.lines[1].size == 3,
	   "lines point into the text, without their newline");
}

/* The lock modes found in the first line. */
std::string words(const std::string &text)
{
	const char *const modes[] = {"ExclusiveLock", "ShareRowExclusiveLock",
								 "ShareLock",     "RowExclusiveLock",
								 "RowShareLock",  "AccessExclusiveLock"};
	const Parsed parsed = parse(text);
	std::string found;

	for (const char *mode : modes)
		if (cs::HasWord(parsed.lines.at(0), mode))
			found += std::string(found.empty() ? "" : " ") + mode;
	return found;
}

void test_words()
{
	for (const char *mode : {"ExclusiveLock", "ShareRowExclusiveLock", "ShareLock",
							 "RowExclusiveLock", "RowShareLock", "AccessExclusiveLock"})
	{
		const std::string word = mode;

		is(words("Process 12 waits for " + word + " on advisory lock [5,1,2,40000]"), word,
		   word + " and no word that is a part of it");
		is(words(word), word, word + " alone");
		is(words("auf " + word + "-Sperre"), word, word + " before a hyphen");
		is(words("\"" + word + "\""), word, word + " in quotes");
		is(words("は" + word + "を"), word, word + " between letters that are not ASCII");
		is(words("1" + word + "_"), word, word + " between what is no letter");
		is(words("x" + word), "", word + " behind a letter");
		is(words(word + "s"), "", word + " before a letter");
		is(words(std::string("x").append(word).append(word)), "", word + " twice in one word");
		is(words(std::string("Z").append(word).append("\"").append(word)), word,
		   word + " at the second attempt");
		is(words("first line\n" + word), "", word + " in the next line");
		is(words(word.substr(0, word.size() - 1) + "\n" + word.substr(word.size() - 1)), "",
		   word + " cut by the end of the line");
	}
	is(words("exclusivelock ExclusiveLoc EXCLUSIVELOCK"), "", "none of them");
	is(words("ShareLock, then ExclusiveLock"), "ExclusiveLock ShareLock", "two of them");
	is(words("\nShareLock"), "", "none in an empty line");
	for (char letter : {'A', 'Z', 'a', 'z'})
		is(words("ShareLock" + std::string(1, letter)), "",
		   std::string("the letter ") + letter + " continues a word");
	for (char other : {'@', '[', '`', '{', '0', '9'})
		is(words("ShareLock" + std::string(1, other)), "ShareLock",
		   std::string("the character ") + other + " ends a word");
}

/* --- random texts, read a second way -------------------------------------- */

/* The value of digits, or more than any field may be. */
uint64_t value_of(const std::string &digits)
{
	const size_t start = digits.find_first_not_of('0');

	if (start == std::string::npos)
		return 0;
	return digits.size() - start > 10 ? UINT64_MAX : std::stoull(digits.substr(start));
}

/* What is between two brackets, as four fields of a tag of ours, separated by commas. */
bool is_tag(const std::string &inside, std::string *fields)
{
	std::vector<uint64_t> values;
	size_t at = 0;

	if (inside.find_first_not_of("0123456789,") != std::string::npos)
		return false;
	fields->clear();
	for (;;)
	{
		const size_t comma = inside.find(',', at);
		const std::string digits = inside.substr(at, comma - at);

		if (digits.empty() || value_of(digits) > UINT32_MAX)
			return false;
		values.push_back(value_of(digits));
		*fields += (at == 0 ? "" : ",") + std::to_string(values.back());
		if (comma == std::string::npos)
			break;
		at = comma + 1;
	}
	return values.size() == 4 && values[3] >= 32768 && values[3] <= 65535;
}

std::string expected_of(const std::string &line)
{
	constexpr char kDigits[] = "0123456789";
	const size_t first = line.find_first_of(kDigits);
	uint64_t pid = 0;

	if (first != std::string::npos)
		pid = value_of(line.substr(first, line.find_first_not_of(kDigits, first) - first));

	if (pid > INT_MAX)
		pid = 0;
	for (size_t open = line.find('['); open != std::string::npos; open = line.find('[', open + 1))
	{
		const size_t close = line.find(']', open);
		std::string fields;

		if (close != std::string::npos && is_tag(line.substr(open + 1, close - open - 1), &fields))
			return description(pid, fields, line.substr(close + 1));
	}
	return std::to_string(pid);
}

bool expected_word(const std::string &line, const std::string &word)
{
	const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

	for (size_t at = line.find(word); at != std::string::npos; at = line.find(word, at + 1))
		if ((at == 0 || letters.find(line[at - 1]) == std::string::npos) &&
			(at + word.size() == line.size() ||
			 letters.find(line[at + word.size()]) == std::string::npos))
			return true;
	return false;
}

void mutate(Random &random, std::string &text)
{
	const std::string likely = "[],,0123456789 \n\nLk";
	const size_t at = random.Below(text.size() + 1);

	switch (random.Below(6U))
	{
		case 0:
			text.insert(at, 1, likely[random.Below(likely.size())]);
			break;
		case 1:
			text.erase(at, 1 + random.Below(4U));
			break;
		case 2:
			text.insert(at, text.substr(random.Below(text.size() + 1), random.Below(40U)));
			break;
		case 3:
			text.insert(at, kDetails[random.Below(std::size(kDetails))]);
			break;
		case 4:
			text.resize(at);
			break;
		default:
			if (at < text.size())
				text[at] = static_cast<char>(1 + random.Below(255U));
			break;
	}
}

/* Is the text read as expected? Counts its tags. */
bool read_right(const std::string &text, uint64_t *tags)
{
	const Parsed parsed = parse(text);
	std::string whole;

	for (const cs::DeadlockLine &line : parsed.lines)
	{
		const std::string own(line.text, line.size);

		whole += own + "\n";
		*tags += line.has_key ? 1 : 0;
		if (own.find('\n') != std::string::npos || understood(line) != expected_of(own))
			return false;
		for (const char *word : {"ExclusiveLock", "Lock", "L", ""})
			if (cs::HasWord(line, word) != expected_word(own, word))
				return false;
	}
	return whole == (text.empty() || text.back() == '\n' ? text : text + "\n");
}

void test_random()
{
	constexpr uint64_t kTexts = 20000;
	Random random(1);
	uint64_t tags = 0;
	uint64_t read = 0;

	for (; read < kTexts; read++)
	{
		std::string text = kDetails[random.Below(std::size(kDetails))];

		for (size_t i = random.Below(8U); i > 0; i--)
			mutate(random, text);
		if (!read_right(text, &tags))
		{
			std::printf("# misread: %s\n", text.c_str());
			break;
		}
	}
	is(read, kTexts, "20,000 damaged texts are read as a second parser does");
	ok(tags > kTexts / 4, "tags were among them");
}

} // namespace

int main()
{
	test_languages();
	test_other_locks();
	test_tags();
	test_processes();
	test_lines();
	test_words();
	test_random();
	return tap::done();
}
