/*
 * writer_set.hpp - the last transactions that wrote under a few keys.
 *
 * Whoever locks a key asks: does my snapshot see the last transaction that held
 * it exclusively and wrote? The last one of a key is enough, because exclusive
 * holders end one after the other: a snapshot that sees the last one sees all.
 * Holders of intent locks end in any order, and several keys share a set. So a
 * writer stands for another one only where it is certain that the other had
 * ended before it did: a clock is read by each writer before it ends (`began`)
 * and advanced by it afterwards (`ended`).
 *
 * No writer is forgotten that some snapshot may not see. If too many find no
 * place, the set answers for all of its keys in common: that can cost somebody
 * a needless error, but never hides a writer.
 *
 * Pure: compiles without PostgreSQL.
 */
#pragma once

#include <cstdint>

namespace cs {

inline constexpr int kWritersPerSet = 3;

/* Its end was not awaited: it was prepared, or gave the key back before it committed. */
inline constexpr uint64_t kNotEnded = UINT64_MAX;

/* A transaction that wrote while it held a key. */
struct Writer
{
	uint64_t key;
	uint64_t xid; /* with its epoch; 0 = nobody */
	uint64_t ended;
	bool intent; /* it held an intent lock, wrote below the key */
};

/* Writers that found no place of their own: some of those from the first to the last. */
struct Crowd
{
	uint64_t first; /* xid, 0 = nobody */
	uint64_t last;
	bool open; /* not of all of them the end was awaited: one may still run */
};

struct WriterSet
{
	Writer writers[kWritersPerSet];
	Crowd crowd;
};

/* Does the end of b prove the end of a? began is b's reading of the clock before it ended. */
inline bool EndedBefore(uint64_t a_ended, uint64_t b_ended, uint64_t b_began)
{
	return b_ended != kNotEnded && a_ended <= b_began;
}

/* Whoever has to see the older writer has to see the newer one as well, and sees both then. */
inline bool StandsFor(const Writer &newer, uint64_t began, const Writer &older)
{
	return newer.key == older.key && (older.intent || !newer.intent) &&
		   EndedBefore(older.ended, newer.ended, began);
}

/* The same transaction under the same key; whoever has to see b has to see a. */
inline bool Repeats(const Writer &a, const Writer &b)
{
	return a.key == b.key && a.xid == b.xid && (!a.intent || b.intent);
}

/* The writer whose place is taken if none is free: the oldest one that has ended. */
Writer *ChooseForCrowd(WriterSet &set);

/* Adds a writer to the crowd. */
void JoinCrowd(Crowd &crowd, const Writer &writer);

/*
 * Enters a writer. is_seen_by_all(xid): does every snapshot, now and later, see
 * the end of that transaction and of all before it? It is asked only if there is
 * no free place.
 */
template <class IsSeenByAll>
void EnterWriter(WriterSet &set, const Writer &writer, uint64_t began, IsSeenByAll is_seen_by_all)
{
	Writer *place = nullptr;

	for (Writer &other : set.writers)
	{
		if (Repeats(other, writer) && writer.ended == kNotEnded)
			return;
		if (Repeats(writer, other) || StandsFor(writer, began, other))
			other.xid = 0;
		if (other.xid == 0 && place == nullptr)
			place = &other;
	}
	for (Writer &other : set.writers)
		if (place == nullptr && is_seen_by_all(other.xid))
			place = &other;
	if (place == nullptr)
	{
		place = ChooseForCrowd(set);
		if (set.crowd.first != 0 && is_seen_by_all(set.crowd.last))
			set.crowd.first = 0;
		JoinCrowd(set.crowd, *place);
	}
	*place = writer;
}

/*
 * Is there a writer whose work a snapshot may not see? reads_below: the lock
 * that was taken covers what is below the key, so intent locks matter.
 * sees(xid): the snapshot sees the end of that transaction, or it is the own
 * one; sees_all(crowd): it sees the ends of all that may be in the crowd.
 */
template <class Sees, class SeesAll>
bool HasUnseenWriter(const WriterSet &set, uint64_t key, bool reads_below, Sees sees,
					 SeesAll sees_all)
{
	for (const Writer &writer : set.writers)
		if (writer.xid != 0 && writer.key == key && (reads_below || !writer.intent) &&
			!sees(writer.xid))
			return true;
	return set.crowd.first != 0 && !sees_all(set.crowd);
}

} // namespace cs
