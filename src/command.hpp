/*
 * command.hpp - a command that the user gives as text, executed through SPI.
 */
#pragma once

#include "postgres.hpp"

namespace cs {

/* Values for $1, $2 and so on, all of type text; in the current memory context. */
ParamListInfo make_text_parameters(const Datum *values, const bool *nulls, int count);

/*
 * Executes SQL of one or more statements within the SPI connection and the
 * transaction of the caller, with its rights; rows are thrown away. 2D000 for a
 * command that ends the transaction, 0A000 for one that talks to the client.
 */
void execute_command(const char *text, ParamListInfo parameters);

} // namespace cs
