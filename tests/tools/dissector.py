"""What the tests of the dissector for Wireshark have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from messageu.wire import v3
from tests.test_protocol_v3_doc import FRAMES
from tests.wire.v3 import _values as values

from .pcap import Capture
from .shown import Field
from .tshark import MISSING, Frame, dissect

SEED = 1357

V3_REQUESTS = [
    *(frame for frame in FRAMES.values() if isinstance(frame, v3.Request)),
    *(
        v3.Request(100 + number, body)
        for number, body in enumerate(values.SMALLEST_REQUESTS + values.LARGEST_REQUESTS)
    ),
]
V3_ANSWERS = [
    *(frame for frame in FRAMES.values() if isinstance(frame, v3.Response)),
    *(
        v3.Response(100 + number, body)
        for number, body in enumerate((*values.SMALLEST_ANSWERS, values.LARGEST_OF_THEM[2705]))
    ),
    *(v3.Response(v3.PUSH, body) for body in (*values.PUSHES, values.LARGEST_OF_THEM[2720])),
]


class DissectorTestCase(SynchronousTestCase):
    """Frames that are shown are compared with what was sent."""

    skip = MISSING
    maxDiff = None

    def assert_shown(self, frames: Sequence[Frame], expected: Sequence[list[Field]]) -> None:
        """These frames are shown, and nothing is wrong with them."""
        self.assertEqual(len(frames), len(expected))
        for frame, fields in zip(frames, expected, strict=True):
            names = [field.name for field in frame.fields]
            self.assertEqual(names, [name for name, _ in fields])
            read = [
                (field.name, field.read_as(type(value)))
                for field, (_, value) in zip(frame.fields, fields, strict=True)
            ]
            self.assertEqual(read, fields)
            self.assertEqual(frame.experts, [])

    def run_tshark(self, capture: Capture, protocol: str, *options: str) -> Any:
        """What tshark shows of the capture."""
        return dissect(capture, Path(self.mktemp()).absolute(), protocol, *options)
