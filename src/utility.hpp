/*
 * utility.hpp - what has to be done at commands that are not planned.
 */
#pragma once

namespace cs {

/* Called once, when the library is loaded. */
void watch_utility_commands();

} // namespace cs
