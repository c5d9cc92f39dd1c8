"""The life of a connection, over the whole product of its states and what can happen."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from messageu.server._lifecycle import TAKES_REQUESTS, Actions, Lifecycle, new_lifecycle

TRANSITIONS = {
    ("open", "end_input"): ("half closed", None),
    ("open", "condemn"): ("condemned", None),
    ("open", "stop"): ("condemned", None),
    ("open", "leave"): ("closing", "lose"),
    ("half closed", "condemn"): ("finishing", None),
    ("half closed", "stop"): ("finishing", None),
    ("half closed", "leave"): ("closing", "lose"),
    ("half closed", "answer_all"): ("closing", "lose"),
    ("half closed", "answer_all_unproven"): ("draining", "shut down"),
    ("condemned", "end_input"): ("finishing", None),
    ("condemned", "answer_all"): ("discarding", "shut down"),
    ("condemned", "answer_all_unproven"): ("discarding", "shut down"),
    ("finishing", "answer_all"): ("closing", "lose"),
    ("finishing", "answer_all_unproven"): ("closing", "lose"),
    ("discarding", "end_input"): ("closing", "lose"),
    ("draining", "drain"): ("closing", "lose"),
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

    def make(self) -> tuple[Lifecycle, list[str]]:
        """A new life, and what it asks of its transport."""
        actions: list[str] = []
        return (
            new_lifecycle(
                Actions(
                    shut_down_output=lambda: actions.append("shut down"),
                    lose_connection=lambda: actions.append("lose"),
                    abort_connection=lambda: actions.append("abort"),
                )
            ),
            actions,
        )

    def test_every_state_and_happening(self) -> None:
        """In each state each happening leads where the table says, and asks for what it says."""
        for state, happening in product(WAYS, HAPPENINGS):
            lifecycle, actions = self.make()
            for step in WAYS[state]:
                getattr(lifecycle, step)()
            self.assertEqual(lifecycle.state(), state)
            actions.clear()
            getattr(lifecycle, happening)()
            if happening == "lose" or state == "closed":
                expected = ("closed", None)
            elif happening == "abort":
                expected = ("closed", "abort")
            else:
                expected = TRANSITIONS.get((state, happening), (state, None))
            self.assertEqual(
                (lifecycle.state(), *actions),
                tuple(part for part in expected if part is not None),
                (state, happening),
            )

    def test_every_life_ends(self) -> None:
        """Wherever a connection is, an abort ends it, and only two states take requests."""
        for state, way in WAYS.items():
            lifecycle, _ = self.make()
            for step in way:
                getattr(lifecycle, step)()
            lifecycle.abort()
            self.assertEqual(lifecycle.state(), "closed", state)
        self.assertEqual(TAKES_REQUESTS, {"open", "half closed"})
