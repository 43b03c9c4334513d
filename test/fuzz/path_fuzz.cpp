/*
 * path_fuzz.cpp - any path and any separator: its ancestors, and its class.
 */
#include "fuzz.hpp"
#include "key.hpp"
#include "order_graph.hpp"

namespace {

using fuzz::expect;

/* The end of the segment that begins there; 0 if it is empty. */
size_t EndOfSegment(std::string_view path, std::string_view separator, size_t start)
{
	const size_t found = path.find(separator, start);
	const size_t end = found == std::string_view::npos ? path.size() : found;

	return end > start ? end : 0;
}

void check_ancestors(std::string_view path, std::string_view separator)
{
	size_t start = 0;
	size_t end = 0;

	do
	{
		const size_t former = end;

		end = cs::NextPathEnd(path.data(), path.size(), separator.data(), separator.size(), former);
		expect(end == EndOfSegment(path, separator, start), "an ancestor ends at a separator");
		if (end == 0)
			return;
		expect(end > former && end <= path.size(), "each ancestor is longer than the one before");
		start = end + separator.size();
	} while (end < path.size());
}

void check_class(std::string_view key, std::string_view separator)
{
	const size_t size = cs::ClassSize(key.data(), key.size(), separator.data(), separator.size());
	const size_t last = key.rfind(separator);
	const bool has_class = last != std::string_view::npos && last != 0;

	expect(size == (has_class ? last : key.size()), "the class ends at the last separator");
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz::Input input(data, size);
	const std::string_view separator = input.Bytes(1 + (input.Byte() & 3));
	const std::string_view path = input.Rest();

	if (separator.empty() || path.empty())
		return 0;
	check_ancestors(path, separator);
	check_class(path, separator);
	return 0;
}
