"""The life of a connection, over the whole product of its states and what can happen."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from messageu.server._lifecycle import TAKES_REQUESTS, Action, Lifecycle, Plan, new_lifecycle

TRANSITIONS = {
    ("open", "end_input"): ("half closed", None),
    ("open", "condemn"): ("condemned", None),
    ("open", "stop"): ("condemned", None),
    ("open", "leave"): ("closing", Action.LOSE_CONNECTION),
    ("half closed", "condemn"): ("finishing", None),
    ("half closed", "stop"): ("finishing", None),
    ("half closed", "leave"): ("closing", Action.LOSE_CONNECTION),
    ("half closed", "answer_all"): ("closing", Action.LOSE_CONNECTION),
    ("half closed", "answer_all_unproven"): ("draining", Action.SHUT_DOWN_OUTPUT),
    ("condemned", "end_input"): ("finishing", None),
    ("condemned", "answer_all"): ("discarding", Action.SHUT_DOWN_OUTPUT),
    ("condemned", "answer_all_unproven"): ("discarding", Action.SHUT_DOWN_OUTPUT),
    ("finishing", "answer_all"): ("closing", Action.LOSE_CONNECTION),
    ("finishing", "answer_all_unproven"): ("closing", Action.LOSE_CONNECTION),
    ("discarding", "end_input"): ("closing", Action.LOSE_CONNECTION),
    ("draining", "drain"): ("closing", Action.LOSE_CONNECTION),
}
"""What changes anything; everything else is of no consequence. Abort and lose are apart."""

HAPPENINGS = (
    "end_input",
    "condemn",
    "stop",
    "leave",
    "answer_all",
    "answer_all_unproven",
    "drain",
    "abort",
    "lose",
)

WAYS = {
    "open": (),
    "half closed": ("end_input",),
    "condemned": ("condemn",),
    "finishing": ("end_input", "stop"),
    "discarding": ("condemn", "answer_all"),
    "draining": ("end_input", "answer_all_unproven"),
    "closing": ("leave",),
    "closed": ("lose",),
}
"""How to get into each state."""


class LifecycleTests(SynchronousTestCase):
    """The machine by itself."""

    def make(self) -> tuple[Lifecycle, Plan]:
        """A new life, and what it wants done to its transport."""
        plan = Plan()
        return new_lifecycle(plan), plan

    def test_every_state_and_happening(self) -> None:
        """In each state each happening leads where the table says, and asks for what it says."""
        for state, happening in product(WAYS, HAPPENINGS):
            lifecycle, plan = self.make()
            for step in WAYS[state]:
                getattr(lifecycle, step)()
            self.assertEqual(lifecycle.state(), state)
            plan.action = None
            getattr(lifecycle, happening)()
            if happening == "lose" or state == "closed":
                expected = ("closed", None)
            elif happening == "abort":
                expected = ("closed", Action.ABORT_CONNECTION)
            else:
                expected = TRANSITIONS.get((state, happening), (state, None))
            self.assertEqual((lifecycle.state(), plan.action), expected, (state, happening))

    def test_every_life_ends(self) -> None:
        """Wherever a connection is, an abort ends it, and only two states take requests."""
        for state, way in WAYS.items():
            lifecycle, _ = self.make()
            for step in way:
                getattr(lifecycle, step)()
            lifecycle.abort()
            self.assertEqual(lifecycle.state(), "closed", state)
        self.assertEqual(TAKES_REQUESTS, {"open", "half closed"})
