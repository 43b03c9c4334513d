/*
 * writer_model.hpp - sessions that lock the keys of one set of writers, without
 * a server, and what the set says compared with the truth.
 *
 * They write, take snapshots and end in single steps, as the server does it:
 * the clock is read, the end gets visible, the clock is advanced, the keys are
 * entered one by one, the locks released. A list of all that was ever written
 * says what a snapshot does not show.
 */
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "modes.hpp"
#include "random.hpp"
#include "writer_set.hpp"

namespace writer_model {

using cs::Crowd;
using cs::kNotEnded;

inline constexpr uint64_t kFirstXid = 3;

/* What a snapshot shows: what ended up to a moment. All before xmin have, none from xmax on. */
struct Snapshot
{
	uint64_t moment; /* 0 = there is no snapshot */
	uint64_t xmin;
	uint64_t xmax;
	std::vector<uint64_t> running;
};

struct Fate
{
	uint64_t visible_at; /* 0 = it is in progress, or was rolled back */
	bool aborted;
};

/* Somebody wrote while he held a key. */
struct Work
{
	uint64_t key;
	uint64_t xid;
	bool intent;
};

struct Hold
{
	uint64_t key;
	uint8_t mode;
};

enum class Phase
{
	kIdle,
	kRunning,
	kEnding, /* the clock is read, the end not visible */
	kVisible,
	kEntering,
	kPrepared
};

struct Session
{
	Phase phase;
	uint64_t xid; /* 0 = wrote nothing */
	Snapshot snapshot;
	std::vector<Hold> holds;
	size_t entered;
	uint64_t began;
	uint64_t ended;
};

/* What the sessions do. */
struct Scene
{
	uint64_t keys;
	std::vector<uint8_t> modes;
	size_t most_holds;
	bool at_once;    /* who commits does so in one step */
	uint32_t unkept; /* of 100 ends: by two phases; of 100 steps: keys given back early */
};

struct Counts
{
	uint64_t grants;
	uint64_t hidden; /* a snapshot does not show what was written */
	uint64_t missed; /* and nobody said so */
	uint64_t false_alarms;
	uint64_t inexplicable; /* false alarms that no crowd can explain */
	uint64_t futile;       /* that a new snapshot would meet as well */
	uint64_t crowds;       /* at a grant */
};

class Model
{
public:
	Model(const Scene &the_scene, uint64_t seed, Counts *the_counts)
		: scene(the_scene), random(seed), counts(the_counts), sessions(4 + seed % 7)
	{
	}

	void Run(int steps)
	{
		while (steps-- > 0)
		{
			/* The server asks for this now and then: it says less than it could. */
			if (random.Below(8U) == 0)
				seen_by_all_before = Horizon();
			Step(sessions[random.Below(sessions.size())]);
		}
	}

private:
	bool IsVisible(const Fate &fate, const Snapshot &snapshot) const
	{
		return fate.aborted || (fate.visible_at != 0 && fate.visible_at <= snapshot.moment);
	}

	const Fate &FateOf(uint64_t xid) const
	{
		return fates[xid - kFirstXid];
	}

	static bool IsInProgress(const Session &session)
	{
		return session.xid != 0 && session.phase != Phase::kVisible &&
			   session.phase != Phase::kEntering;
	}

	uint64_t NextXid() const
	{
		return kFirstXid + fates.size();
	}

	/* The session that takes it is not among those that run. */
	Snapshot Now(const Session &self) const
	{
		Snapshot now = {moment, latest_ended + 1, latest_ended + 1, {}};

		for (const Session &session : sessions)
			if (IsInProgress(session))
			{
				now.xmin = std::min(now.xmin, session.xid);
				if (&session != &self && session.xid < now.xmax)
					now.running.push_back(session.xid);
			}
		return now;
	}

	/* All snapshots, now and later, see the end of whoever is older. */
	uint64_t Horizon() const
	{
		uint64_t horizon = latest_ended + 1;

		for (const Session &session : sessions)
		{
			if (IsInProgress(session))
				horizon = std::min(horizon, session.xid);
			if (session.snapshot.moment != 0)
				horizon = std::min(horizon, session.snapshot.xmin);
		}
		return horizon;
	}

	void Enter(const Hold &hold, uint64_t xid, uint64_t began, uint64_t ended)
	{
		if (modes::writes(hold.mode))
			cs::EnterWriter(set, {hold.key, xid, ended, hold.mode != modes::kX}, began,
							[this](uint64_t other) {
								return other < seen_by_all_before;
							});
	}

	void NoteWork(const Session &session, const Hold &hold)
	{
		if (modes::writes(hold.mode))
			work.push_back({hold.key, session.xid, hold.mode != modes::kX});
	}

	void Commit(const Session &session)
	{
		fates[session.xid - kFirstXid].visible_at = ++moment;
		latest_ended = std::max(latest_ended, session.xid);
	}

	void RollBack(const Session &session)
	{
		fates[session.xid - kFirstXid].aborted = true;
		latest_ended = std::max(latest_ended, session.xid);
	}

	void Leave(Session &session)
	{
		session = {};
	}

	bool IsFree(const Session &self, const Hold &wanted) const
	{
		for (const Session &other : sessions)
			if (&other != &self)
				for (const Hold &hold : other.holds)
					if (hold.key == wanted.key && modes::conflict(wanted.mode, hold.mode))
						return false;
		return true;
	}

	bool IsHidden(const Session &session, const Hold &granted) const
	{
		return std::any_of(work.begin(), work.end(), [&](const Work &done) {
			return done.key == granted.key && done.xid != session.xid &&
				   (!done.intent || modes::reads_below(granted.mode)) &&
				   !IsVisible(FateOf(done.xid), session.snapshot);
		});
	}

	/* As the server finds it out. */
	bool SeesAll(const Session &session, const Crowd &crowd) const
	{
		const Snapshot &snapshot = session.snapshot;

		if (crowd.first == crowd.last)
			return crowd.last == session.xid || IsVisible(FateOf(crowd.last), snapshot);
		return crowd.last < snapshot.xmax &&
			   std::none_of(snapshot.running.begin(), snapshot.running.end(), [&](uint64_t xid) {
				   return crowd.first <= xid && xid <= crowd.last &&
						  (crowd.open || !IsInProgress(FateOf(xid)));
			   });
	}

	static bool IsInProgress(const Fate &fate)
	{
		return fate.visible_at == 0 && !fate.aborted;
	}

	bool IsSaidToBeHidden(const Session &session, const Hold &granted) const
	{
		return cs::HasUnseenWriter(
			set, granted.key, modes::reads_below(granted.mode),
			[&](uint64_t xid) {
				return xid == session.xid || IsVisible(FateOf(xid), session.snapshot);
			},
			[&](const Crowd &crowd) {
				return SeesAll(session, crowd);
			});
	}

	/* Would it not help to retry? */
	bool IsFutile(const Session &session, const Hold &granted) const
	{
		Session again = session;

		again.snapshot = Now(session);
		return IsSaidToBeHidden(again, granted) && !IsHidden(again, granted);
	}

	void CheckGrant(const Session &session, const Hold &granted)
	{
		const bool hidden = IsHidden(session, granted);
		const bool said = IsSaidToBeHidden(session, granted);
		const bool crowd = set.crowd.first != 0;

		counts->grants++;
		counts->hidden += hidden;
		counts->missed += hidden && !said;
		counts->false_alarms += said && !hidden;
		counts->inexplicable += said && !hidden && !crowd;
		counts->futile += IsFutile(session, granted);
		counts->crowds += crowd;
	}

	void LockKey(Session &session)
	{
		if (session.holds.size() >= scene.most_holds)
			return;

		const Hold wanted = {random.Below(scene.keys),
							 scene.modes[random.Below(scene.modes.size())]};

		if (!IsFree(session, wanted))
			return;
		if (session.snapshot.moment != 0)
			CheckGrant(session, wanted);
		session.holds.push_back(wanted);
	}

	void Write(Session &session)
	{
		if (session.xid != 0)
			return;
		session.xid = NextXid();
		fates.push_back({});
	}

	void GiveBack(Session &session)
	{
		if (session.holds.empty())
			return;

		std::swap(session.holds[random.Below(session.holds.size())], session.holds.back());
		if (session.xid != 0)
		{
			NoteWork(session, session.holds.back());
			Enter(session.holds.back(), session.xid, 0, kNotEnded);
		}
		session.holds.pop_back();
	}

	void Prepare(Session &session)
	{
		for (const Hold &hold : session.holds)
		{
			NoteWork(session, hold);
			Enter(hold, session.xid, 0, kNotEnded);
		}
		session.snapshot = {};
		session.phase = Phase::kPrepared;
	}

	void BeginEnd(Session &session)
	{
		const uint32_t way = random.Below(100U);

		if (session.xid == 0)
			Leave(session);
		else if (way < scene.unkept)
			Prepare(session);
		else if (way < scene.unkept + 20)
		{
			RollBack(session);
			Leave(session);
		}
		else
		{
			session.began = clock;
			session.phase = Phase::kEnding;
			while (scene.at_once && session.phase != Phase::kIdle)
				Step(session);
		}
	}

	void Run(Session &session)
	{
		const uint32_t what = random.Below(100U);

		if (what < scene.unkept)
			GiveBack(session);
		else if (what < 55)
			LockKey(session);
		else if (what < 75)
			Write(session);
		else if (what < 85 && (session.snapshot.moment == 0 || what < 77))
			session.snapshot = Now(session);
		else if (what >= 85)
			BeginEnd(session);
	}

	void MakeVisible(Session &session)
	{
		Commit(session);
		session.snapshot = {};
		for (const Hold &hold : session.holds)
			NoteWork(session, hold);
		session.phase = Phase::kVisible;
	}

	void EndPrepared(Session &session)
	{
		if (random.Below(3U) == 0)
			RollBack(session);
		else
			Commit(session);
		Leave(session);
	}

	void Step(Session &session)
	{
		switch (session.phase)
		{
			case Phase::kIdle:
				session.phase = Phase::kRunning;
				if (random.Below(2U) == 0)
					session.snapshot = Now(session);
				break;
			case Phase::kRunning:
				Run(session);
				break;
			case Phase::kEnding:
				MakeVisible(session);
				break;
			case Phase::kVisible:
				session.ended = ++clock;
				session.phase = Phase::kEntering;
				break;
			case Phase::kEntering:
				if (session.entered == session.holds.size())
					Leave(session);
				else
					Enter(session.holds[session.entered++], session.xid, session.began,
						  session.ended);
				break;
			case Phase::kPrepared:
				if (random.Below(8U) == 0)
					EndPrepared(session);
				break;
		}
	}

	const Scene &scene;
	Random random;
	Counts *counts;
	std::vector<Session> sessions;
	cs::WriterSet set = {};
	std::vector<Fate> fates;
	std::vector<Work> work;
	uint64_t latest_ended = kFirstXid - 1;
	uint64_t moment = 1;
	uint64_t clock = 1;
	uint64_t seen_by_all_before = 0;
};

} // namespace writer_model
