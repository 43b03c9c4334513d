/*
 * writer_set.cpp - what happens when a set is full. No PostgreSQL here.
 */
#include "writer_set.hpp"

#ifdef POSTGRES_H
#error "writer_set.cpp has to compile without PostgreSQL"
#endif

namespace cs {

Writer *ChooseForCrowd(WriterSet &set)
{
	Writer *chosen = &set.writers[0];

	for (Writer &writer : set.writers)
	{
		const bool ended = writer.ended != kNotEnded;
		const bool chosen_ended = chosen->ended != kNotEnded;

		if (ended == chosen_ended ? writer.xid < chosen->xid : ended)
			chosen = &writer;
	}
	return chosen;
}

void JoinCrowd(Crowd &crowd, uint64_t xid)
{
	if (crowd.first == 0)
		crowd = {xid, xid};
	else
		crowd = {xid < crowd.first ? xid : crowd.first, xid > crowd.last ? xid : crowd.last};
}

} // namespace cs
