"""Two managers accept two proposals of one project at the same moment.

A project may have one accepted proposal.  Each row is written by one manager
only, so no update is lost: what goes wrong is the decision.
"""

from __future__ import annotations

from typing import Optional

from session import REFUSED, SUCCEEDED, Outcome, Session, think


class Proposals:
    name = "two proposals"
    sessions = 8
    rounds = 50
    group = 2  # two managers and one project in every turn

    tables = """
        CREATE TABLE project (id integer PRIMARY KEY);
        CREATE TABLE proposal (project integer REFERENCES project,
                               manager integer,
                               accepted boolean NOT NULL DEFAULT false,
                               PRIMARY KEY (project, manager));
        INSERT INTO project SELECT generate_series(0, 199);
        INSERT INTO proposal SELECT id, manager
            FROM project, generate_series(0, 1) AS manager
    """

    def naive(self, db: Session, worker: int, turn: int) -> Outcome:
        project, manager = self.desk(worker, turn)
        with db.transaction():
            return self.accept(db, project, manager)

    def row_lock(self, db: Session, worker: int, turn: int) -> Outcome:
        project, manager = self.desk(worker, turn)
        with db.transaction():
            db.run("SELECT FROM project WHERE id = %s FOR UPDATE", project)
            return self.accept(db, project, manager)

    def key_lock(self, db: Session, worker: int, turn: int) -> Outcome:
        project, manager = self.desk(worker, turn)
        with db.transaction():
            if not db.value("SELECT cs_try_lock(%s)", f"project:{project}"):
                return REFUSED  # the other manager is deciding right now
            return self.accept(db, project, manager)

    ways = {"naive": naive, "row lock": row_lock, "key lock": key_lock}

    def desk(self, worker: int, turn: int) -> tuple[int, int]:
        pair, manager = divmod(worker, 2)
        return pair * self.rounds + turn, manager

    def accept(self, db: Session, project: int, manager: int) -> Outcome:
        if db.value(
            "SELECT count(*) FROM proposal WHERE project = %s AND accepted",
            project,
        ):
            return REFUSED
        think()
        db.run(
            "UPDATE proposal SET accepted = true"
            " WHERE project = %s AND manager = %s",
            project,
            manager,
        )
        return SUCCEEDED

    def damage(self, db: Session) -> Optional[str]:
        twice = db.value(
            "SELECT count(*) FROM (SELECT FROM proposal WHERE accepted"
            " GROUP BY project HAVING count(*) > 1) AS project"
        )
        return f"{twice} twice" if twice else None
