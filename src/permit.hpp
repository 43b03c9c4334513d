/*
 * permit.hpp - what permits have to do when the library is loaded.
 */
#pragma once

namespace cs {

/* Registers for the ends of transactions; called once, when the library is loaded. */
void watch_permits();

} // namespace cs
