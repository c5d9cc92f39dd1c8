"""State diagrams (Mermaid) of the machines: from automat's own tables, and from a session that is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from messageu.client import _session as client_session
from messageu.client.v3 import _reconnect
from messageu.model.v3 import IdentityKeys, Reason, authentication_text
from messageu.server import _delivery, _lifecycle
from messageu.server.v3._session import Session
from messageu.wire import v3

MACHINES: Final[dict[str, Any]] = {
    "lifecycle": _lifecycle.new_lifecycle,
    "delivery": _delivery._machine,
    "client-session": client_session._new_lifecycle,
    "reconnector": _reconnect._new_line,
}
"""What automat has built, by the names of the diagrams."""


@frozen(order=True)
class Arrow:
    """One way from a state to another, or back to itself when something is done on the way."""

    source: str
    target: str
    label: str


def arrows_of(machine: Any) -> tuple[str, list[Arrow]]:
    """The first state of a machine of automat, and its transitions without those that do nothing."""
    automaton = machine.__automat_automaton__
    arrows = [
        Arrow(source.name, target.name, _label(happening, outputs))
        for source, happening, target, outputs in automaton.allTransitions()
        if source != target or _effects(outputs)
    ]
    return automaton.initialState.name, sorted(arrows)


def _effects(outputs: Iterable[Any]) -> list[str]:
    """What is done on the way; a constant that is answered, and nothing, are no effects."""
    names = [output.name.strip("_") for output in outputs]
    return [name for name in names if name != "nothing" and not name.startswith("returns(")]


def _label(happening: str, outputs: Iterable[Any]) -> str:
    return " / ".join([_words(happening), *map(_words, _effects(outputs))])


def _words(name: str) -> str:
    return name.replace("_", " ")


def state_diagram(first: str, arrows: Iterable[Arrow]) -> str:
    """The text of a diagram; arrows between the same two states are one."""
    arrows = list(arrows)
    together: dict[tuple[str, str], list[str]] = {}
    for arrow in arrows:
        together.setdefault((arrow.source, arrow.target), []).append(arrow.label)
    states = _in_order(first, together)
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{state}" as {_id(state)}' for state in states if " " in state]
    lines.append(f"    [*] --> {_id(first)}")
    place = {state: number for number, state in enumerate(states)}
    for source, target in sorted(together, key=lambda ends: (place[ends[0]], place[ends[1]])):
        lines.append(f"    {_id(source)} --> {_id(target)}: {', '.join(together[source, target])}")
    lines += [f"    {_id(state)} --> [*]" for state in states if _is_end(state, arrows)]
    return "\n".join(lines)


def _in_order(first: str, arrows: Iterable[tuple[str, str]]) -> list[str]:
    """The states as they are reached from the first one."""
    states, ways = [first], sorted(arrows)
    for state in states:
        states += [target for source, target in ways if source == state and target not in states]
    return states


def _id(state: str) -> str:
    return state.replace(" ", "_")


def _is_end(state: str, arrows: Iterable[Arrow]) -> bool:
    return all(arrow.target == state for arrow in arrows if arrow.source == state)


# v3's session has no table: its rules are methods. So each is tried in each state.

_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(32))
_KEYS: Final = IdentityKeys(_KEY.public_key().public_bytes_raw(), bytes(32))
_NONCE, _BINDING, _GENERATION = bytes(32), bytes(32), 1


def _proof() -> v3.Authenticate:
    text = authentication_text(_NONCE, _KEYS.identity, _GENERATION, _BINDING)
    return v3.Authenticate(_KEYS, _GENERATION, _KEY.sign(text))


def _forgery() -> v3.Authenticate:
    return v3.Authenticate(_KEYS, _GENERATION, bytes(64))


STEPS: Final[dict[str, Callable[[Session], object]]] = {
    "greet": lambda session: session.greet(_NONCE),
    "prove": lambda session: session.prove(_proof()),
    "prove by a forgery": lambda session: session.prove(_forgery()),
    "admit, not registered": lambda session: session.admit(_KEYS, _GENERATION, registered=False),
    "admit, registered": lambda session: session.admit(_KEYS, _GENERATION, registered=True),
    "register": lambda session: session.register(),
    "delete": lambda session: session.delete(),
    "leave": lambda session: session.leave(),
}
"""What can happen to a session of v3."""


def session_arrows() -> tuple[str, list[Arrow]]:
    """The first state of a session of v3, and what leads from where to where when it is tried."""
    first = Session(_BINDING)
    ways: dict[str, list[str]] = {_state(first): []}
    arrows = []
    reached = list(ways)
    for source in reached:
        for step in STEPS:
            session = Session(_BINDING)
            for earlier in ways[source]:
                STEPS[earlier](session)
            before = session.state
            reason = STEPS[step](session)
            target = _state(session)
            if session.state != before or (step == "greet" and reason is None):
                said = f"{step} / {reason.name.lower()}" if isinstance(reason, Reason) else step
                arrows.append(Arrow(source, target, _words(said)))
            if target not in ways:
                ways[target] = [*ways[source], step]
                reached.append(target)
    return _state(first), sorted(arrows)


def _state(session: Session) -> str:
    return type(session.state).__name__.lower()
