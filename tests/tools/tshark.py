"""tshark with the dissector of this project, and what it makes of a capture."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from attrs import define, field, frozen

from .pcap import Capture

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DISSECTOR: Final = ROOT / "tools" / "wireshark" / "messageu.lua"
PROGRAM: Final = shutil.which("tshark")
MISSING: Final = None if PROGRAM else "tshark is not installed: apt-get install tshark"
DERIVED: Final = ("uuid", "request_in", "answer_in")
"""What follows from other fields, or from other frames."""
EXPERTS: Final = ("malformed", "refused", "discarded", "cut")

Value = int | str | bytes


@frozen
class Shown:
    """A field as it is shown, and its bytes as they are: what is long is shown cut short.

    :ivar label: as it is shown to people.
    """

    name: str
    show: str
    raw: bytes
    label: str

    def read_as(self, kind: type[Value]) -> Value:
        """Its value, where it is known of which kind it should be."""
        if kind is int:
            number = int(self.show)
            return number if number == int.from_bytes(self.raw, "little") else self.show
        return self.raw if kind is bytes else self.show


@define
class Frame:
    """One frame of a protocol, as it is shown.

    :ivar fields: in their order.
    :ivar derived: of these, what follows from others.
    :ivar experts: what is wrong with it.
    """

    fields: list[Shown] = field(factory=list)
    derived: list[Shown] = field(factory=list)
    experts: list[str] = field(factory=list)

    def shows(self, name: str) -> list[str]:
        """What is shown in the fields of this name."""
        return [shown.show for shown in self.fields + self.derived if shown.name == name]

    def labels(self, name: str) -> list[str]:
        """What people see of the fields of this name."""
        return [shown.label for shown in self.fields if shown.name == name]


def dissect(
    capture: Capture, directory: Path, protocol: str, *options: str
) -> dict[tuple[int, bool], list[Frame]]:
    """The frames of each stream, by the client's port and by whether they came from there.

    :raises RuntimeError: when tshark, or the dissector, has failed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "capture.pcap"
    path.write_bytes(capture.encode())
    finished = subprocess.run(
        [
            *(str(PROGRAM), "-2", "-n", "-r", str(path), "-X", f"lua_script:{DISSECTOR}"),
            *(*options, "-T", "pdml"),
        ],
        capture_output=True,
        check=False,
        # No preferences and no plugins but ours, and names in no language but English.
        env={
            **os.environ,
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
            "LC_ALL": "C",
        },
    )
    if finished.returncode or b"Lua Error" in finished.stdout + finished.stderr:
        raise RuntimeError((finished.stderr + finished.stdout[-4000:]).decode("utf-8", "replace"))
    return _streams(finished.stdout, protocol)


def _streams(pdml: bytes, protocol: str) -> dict[tuple[int, bool], list[Frame]]:
    streams: dict[tuple[int, bool], list[Frame]] = {}
    for packet in ElementTree.fromstring(pdml).iter("packet"):
        tcp = packet.find("proto[@name='tcp']")
        assert tcp is not None
        source, target = (
            int(tcp.find(f"field[@name='tcp.{port}']").get("show"))  # type: ignore[union-attr]
            for port in ("srcport", "dstport")
        )
        from_client = source > target
        frames = [_frame(shown, protocol) for shown in packet.findall(f"proto[@name='{protocol}']")]
        streams.setdefault((max(source, target), from_client), []).extend(frames)
    return streams


def _frame(shown: ElementTree.Element, protocol: str) -> Frame:
    frame = Frame()
    for element in shown.iter("field"):
        name = element.get("name", "")
        short = name.removeprefix(protocol + ".")
        if not name.startswith(protocol + "."):
            continue
        if short in EXPERTS:
            frame.experts.append(short)
        elif short in DERIVED:
            frame.derived.append(_shown(short, element))
        else:
            frame.fields.append(_shown(short, element))
    return frame


def _shown(name: str, element: ElementTree.Element) -> Shown:
    raw = bytes.fromhex(element.get("value", ""))
    return Shown(name, element.get("show", ""), raw, element.get("showname", ""))
