"""The rules of leases: tokens grow with every grant of a key, and grants do not overlap."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Callable, Optional

Report = Callable[[int, str], None]


@dataclass
class Grant:
    """One grant, written down after its commit."""

    token: int
    granted_at: int  # microseconds
    expires_at: int
    place: int  # in the history
    ended_at: Optional[int] = None  # the place where its release was about to be asked for


class Leases:
    """What is known of the leases of all keys."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.grants: dict[int, dict[int, Grant]] = defaultdict(dict)  # by key and token
        self.highest: dict[int, int] = defaultdict(int)
        self.asked: dict[tuple[int, int], int] = {}  # the highest token when a session asked
        self.count = 0

    def ask(self, session: int, key: int) -> None:
        self.asked[session, key] = self.highest[key]

    def grant(self, place: int, session: int, key: int, token: int, ttl_ms: int,
              expires_at: int) -> None:
        """Tokens grow: those that were known before this one was asked for are lower."""
        self.count += 1
        before = self.asked.get((session, key), 0)
        if token <= before:
            self.report(place, f"token {token} after {before}")
        if token in self.grants[key]:
            self.report(place, f"token {token} was given out twice")
        self.grants[key][token] = Grant(token, expires_at - 1000 * ttl_ms, expires_at, place)
        self.highest[key] = max(self.highest[key], token)

    def renew(self, key: int, token: int, expires_at: int) -> None:
        grant = self.grants[key].get(token)
        if grant is not None:
            grant.expires_at = max(grant.expires_at, expires_at)

    def end(self, place: int, key: int, token: int) -> None:
        grant = self.grants[key].get(token)
        if grant is not None:
            grant.ended_at = place

    def settle(self) -> None:
        """A grant begins after the one before has been released or has expired.

        Also called at a promotion: there a standby goes on that may not have received the last
        grants; the tokens have to grow all the same.
        """
        for grants in self.grants.values():
            ordered = sorted(grants.values(), key=lambda grant: grant.token)
            for former, later in zip(ordered, ordered[1:]):
                released = former.ended_at is not None and former.ended_at < later.place
                if not released and later.granted_at < former.expires_at:
                    self.report(later.place, f"the lease with token {later.token} began "
                                f"{former.expires_at - later.granted_at} us before the end "
                                f"of token {former.token}")
        self.grants.clear()
