/*
 * quietly.hpp - work that may fail, at a moment at which nothing may.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/*
 * Calls work(arg). An error of it is dropped, which is right only for work that
 * takes nothing but memory and LWLocks, where none was held before, and where
 * no other error still has to be raised from the server's stack of errors.
 * Interrupts wait until it is over.
 */
void RunQuietly(void (*work)(void *), void *arg);

} // namespace cs
