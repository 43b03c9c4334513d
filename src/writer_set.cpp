/*
 * writer_set.cpp - how a crowd answers for many. No PostgreSQL here.
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

void JoinCrowd(Crowd &crowd, const Writer &writer, const Writer &newest, uint64_t began)
{
	if (crowd.xid == 0)
	{
		crowd = {writer.xid, writer.ended, true};
		return;
	}
	/* The newest ended after all of them: it stands for them. */
	if (crowd.exact && EndedBefore(crowd.ended, newest.ended, began) &&
		EndedBefore(writer.ended, newest.ended, began))
	{
		crowd = {newest.xid, newest.ended, true};
		return;
	}
	crowd = {crowd.xid > writer.xid ? crowd.xid : writer.xid, kNotEnded, false};
}

} // namespace cs
