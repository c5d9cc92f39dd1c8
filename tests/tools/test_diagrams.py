"""The diagrams in docs are those of the code."""

from __future__ import annotations

import re

from automat import TypeMachineBuilder
from twisted.trial.unittest import SynchronousTestCase

from messageu.server import _delivery, _lifecycle
from messageu.wire import v2, v3
from tools.diagrams import machines
from tools.diagrams.__main__ import DOCS, draw, filled, main, places
from tools.diagrams.exchanges import v2_exchange, v3_exchange
from tools.diagrams.machines import Arrow, arrows_of, session_arrows, state_diagram

SOURCES = DOCS.parent / "src"


class PagesTests(SynchronousTestCase):
    """The pages of docs."""

    def setUp(self) -> None:
        self.pages = {page: page.read_text("utf-8") for page in DOCS.rglob("*.md")}

    def test_pages_are_fresh(self) -> None:
        """Each diagram in a page is as it is drawn now; ``python -m tools.diagrams`` makes it so."""
        self.assertEqual(main(["--check"]), 0)

    def test_every_diagram_has_a_place(self) -> None:
        """There is a place for each diagram, and none for anything else."""
        found = sorted(name for text in self.pages.values() for name in places(text))
        self.assertEqual(found, sorted(draw()))
        marks = [mark for text in self.pages.values() for mark in re.findall("<!-- diagram", text)]
        self.assertEqual(len(marks), 2 * len(found))

    def test_stale_page(self) -> None:
        """An arrow that is not in the code makes a page stale, and is taken out."""
        page = DOCS / "diagrams.md"
        stale = self.pages[page].replace("idle --> asked: ask\n", "idle --> asked: beg\n")
        self.assertNotEqual(stale, self.pages[page])
        self.assertEqual(filled(stale, draw()), self.pages[page])


class MachinesTests(SynchronousTestCase):
    """Machines and their tables."""

    def test_every_machine_is_drawn(self) -> None:
        """Each module in which a machine is built has a diagram."""
        building = {
            str(path.relative_to(SOURCES).with_suffix("")).replace("/", ".")
            for path in SOURCES.rglob("*.py")
            if "TypeMachineBuilder(" in path.read_text("utf-8")
        }
        built = {
            machine.__automat_automaton__.initialState.builder.inputProtocol.__module__
            for machine in machines.MACHINES.values()
        }
        self.assertEqual(built, building)

    def test_arrows_are_the_table(self) -> None:
        """A transition is drawn with its effect; one that changes and does nothing is not."""

        class Inputs:
            def go(self) -> None: ...
            def rest(self) -> None: ...
            def ring(self) -> None: ...

        def _sound_bell(_: Inputs, core: object) -> None: ...

        builder = TypeMachineBuilder(Inputs, object)
        here, there = builder.state("here"), builder.state("over there")
        here.upon(Inputs.go).to(there).returns(None)
        here.upon(Inputs.rest).loop().returns(None)
        here.upon(Inputs.ring).loop()(_sound_bell)
        there.upon(Inputs.ring).to(here)(_sound_bell)
        first, arrows = arrows_of(builder.build())
        self.assertEqual(first, "here")
        self.assertEqual(
            arrows,
            [
                Arrow("here", "here", "ring / sound bell"),
                Arrow("here", "over there", "go"),
                Arrow("over there", "here", "ring / sound bell"),
            ],
        )
        self.assertEqual(
            state_diagram(first, arrows).splitlines(),
            [
                "stateDiagram-v2",
                '    state "over there" as over_there',
                "    [*] --> here",
                "    here --> here: ring / sound bell",
                "    here --> over_there: go",
                "    over_there --> here: ring / sound bell",
            ],
        )

    def test_arrows_are_what_happens(self) -> None:
        """What is drawn of a delivery and of a connection, they do."""
        _, arrows = arrows_of(_delivery._machine)
        self.assertIn(Arrow("flushed", "settled", "prove / settle"), arrows)
        ended: list[str] = []
        delivery = _delivery.Delivery(
            settle=lambda: ended.append("settle"), give_back=lambda: ended.append("give back")
        )
        delivery.flushed(0)
        self.assertEqual(delivery.state, "flushed")
        delivery.heard(0, 0)
        self.assertEqual((delivery.state, ended), ("settled", ["settle"]))
        _, arrows = arrows_of(_lifecycle.new_lifecycle)
        self.assertIn(Arrow("open", "closing", "leave / lose connection"), arrows)
        plan = _lifecycle.Plan()
        lifecycle = _lifecycle.new_lifecycle(plan)
        lifecycle.leave()
        self.assertEqual(
            (lifecycle.state(), plan.action), ("closing", _lifecycle.Action.LOSE_CONNECTION)
        )

    def test_session_of_v3(self) -> None:
        """Nothing leads out of a session that has ended, and nobody is admitted twice."""
        first, arrows = session_arrows()
        self.assertEqual(first, "new")
        self.assertEqual([arrow for arrow in arrows if arrow.source == "gone"], [])
        self.assertEqual(
            {arrow.source for arrow in arrows if arrow.label.startswith("admit")}, {"new"}
        )
        self.assertIn(Arrow("greeted", "new", "prove by a forgery / auth failed"), arrows)


class ExchangesTests(SynchronousTestCase):
    """Exchanges that have taken place."""

    def test_v2(self) -> None:
        """Every request of v2 is asked, and its answer follows."""
        labels = [frame.label for frame in v2_exchange()]
        codes = {int(label[:4]) for label in labels}
        self.assertEqual(
            codes,
            {*map(int, v2.RequestCode), *map(int, v2.ResponseCode)}
            - {int(v2.ResponseCode.GENERAL_ERROR)},
        )
        self.assertEqual(
            [int(label[:4]) + 1500 for label in labels[::2]],
            [int(label[:4]) for label in labels[1::2]],
        )

    def test_v3(self) -> None:
        """Each request of v3 is answered under its correlation, and mail is pushed."""
        frames = v3_exchange()
        asked = [
            (frame.source, frame.label.split()[-1]) for frame in frames if frame.target == "relay"
        ]
        answered = [
            (frame.target, frame.label.split()[-1])
            for frame in frames
            if frame.source == "relay" and not frame.label.endswith("pushed")
        ]
        self.assertEqual(answered, asked)
        self.assertNotIn(str(int(v3.ResponseCode.ERROR)), {frame.label[:4] for frame in frames})
        pushed = [frame.label for frame in frames if frame.label.endswith("pushed")]
        self.assertEqual(pushed, ["2722 prekeys low, pushed", "2720 deliver, pushed"])
