"""Speaking to a relay over its control socket, on a blocking socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from messageu.server import (
    LINE_LIMIT,
    Answer,
    ControlError,
    Done,
    Failed,
    Request,
    decode_answer,
    encode_request,
    socket_address,
)

PATIENCE: Final = 300.0
"""Seconds without a word from the relay. While it copies it says so every second, but to put the
last of it on a slow disk may take long."""


class RelayUnreachable(Exception):
    """No relay listens there; the text says why in one line."""


class RelayGone(Exception):
    """The relay has not finished its answer; the text says why in one line."""


def ask(control: Path, request: Request) -> Iterator[Answer]:
    """Ask the relay at a control socket; its answers as they come, the last of which is Done or
    Failed.

    :raises RelayUnreachable: when there is none.
    :raises RelayGone: when it ends, or says nothing, before it is done.
    :raises ControlError: when this cannot be asked, or the answer is nothing.
    """
    line = encode_request(request)
    with _connect(control) as connection, connection.makefile("rb") as lines:
        try:
            connection.sendall(line + b"\n")
            while answer := lines.readline(LINE_LIMIT + 1):
                if not answer.endswith(b"\n"):
                    raise ControlError("there is no such answer")
                decoded = decode_answer(answer[:-1])
                yield decoded
                if isinstance(decoded, Done | Failed):
                    return
        except TimeoutError:
            raise RelayGone(f"the relay has said nothing for {PATIENCE:.0f} seconds") from None
        except OSError as error:
            raise RelayGone(f"the relay has gone: {error.strerror}") from None
    raise RelayGone("the relay has gone before it was done")


def _connect(control: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    try:
        folder = os.open(control.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(socket_address(folder, control.name))
        finally:
            os.close(folder)
    except OSError as error:
        connection.close()
        raise RelayUnreachable(f"no relay listens at {control}: {error.strerror}") from None
    return connection
