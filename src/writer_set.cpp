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

void JoinCrowd(Crowd &crowd, const Writer &writer)
{
	if (crowd.first == 0)
		crowd = {writer.xid, writer.xid, false};
	crowd.first = writer.xid < crowd.first ? writer.xid : crowd.first;
	crowd.last = writer.xid > crowd.last ? writer.xid : crowd.last;
	crowd.open |= writer.ended == kNotEnded;
}

} // namespace cs
