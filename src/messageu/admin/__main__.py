"""``messageu-admin``: look at a running relay and its users, back it up, check a backup, put one in
place, move a database to PostgreSQL."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final

from attrs import frozen

from messageu import __version__
from messageu.model import InvalidValue
from messageu.model.v3 import Handle
from messageu.server import (
    MAILBOXES_LIMIT,
    PROTOCOLS,
    USERS_LIMIT,
    Advance,
    BackupRequest,
    ControlError,
    ExpireRequest,
    Failed,
    InviteRequest,
    MailboxesRequest,
    ReleaseRequest,
    Request,
    StatusRequest,
    UsersRequest,
    Value,
    control_path,
)
from messageu.store import Checked, StoreUnusable, check_backup, restore_backup

from . import RelayGone, RelayUnreachable, ask
from ._migrate import ExtraMissing, WrongAddress, migrate


class Exit(IntEnum):
    """How it ends; docs/operations.md tells this."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


class _Refused(Exception):
    """The relay could not do it; the text is its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code, a failure is one line on standard error."""
    options = make_parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except RelayUnreachable as error:
        return _fail(str(error), Exit.UNREACHABLE)
    except (ControlError, ExtraMissing, RelayGone, StoreUnusable, _Refused) as error:
        return _fail(str(error), Exit.FAILED)
    except WrongAddress as error:
        return _fail(str(error), Exit.USAGE)
    except KeyboardInterrupt:
        return _fail("interrupted", Exit.INTERRUPTED)
    return Exit.DONE


def _fail(text: str, code: Exit) -> int:
    line = text.encode("utf-8", "backslashreplace").decode()
    print(f"messageu-admin: {line}", file=sys.stderr)
    return code


def make_parser() -> argparse.ArgumentParser:
    """What reads the command line, and knows what is said of it."""
    parser = argparse.ArgumentParser(
        prog="messageu-admin",
        description="Looks after a relay. Run it as the user that the relay runs as.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no relay is reached.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "-d",
        "--database",
        type=Path,
        default=Path("defensive.db"),
        metavar="PATH",
        help="the relay's database (default: %(default)s)",
    )
    parser.add_argument(
        "--control",
        type=Path,
        metavar="PATH",
        help="its control socket (default: the name of the database and .control)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        text = command.text
        added = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        for operand in command.operands:
            operand.add_to(added)
        added.set_defaults(command=command.run)
    return parser


def _status(options: argparse.Namespace) -> None:
    values = _values(options, StatusRequest())
    if options.json:
        _print_json(dict(values))
    else:
        _print_values(values)


def _users(options: argparse.Namespace) -> None:
    if not options.names:
        counts = {name: int(text) for name, text in _values(options, UsersRequest())}
        _print_json(counts) if options.json else _print_values(counts.items())
        return
    request = UsersRequest(options.names, options.after, options.limit)
    values = _values(options, request)
    users = [text.partition(" ")[::2] for name, text in values if name == "user"]
    following = next((int(text) for name, text in values if name == "next"), None)
    if options.json:
        _print_json({"users": [{"id": id, "name": name} for id, name in users], "next": following})
        return
    for client_id, name in users:
        print(f"{client_id} {_escaped(name)}")
    if following is not None:
        print(f"there are more: --after {following}")


def _mailboxes(options: argparse.Namespace) -> None:
    rows = [text.split(" ") for _, text in _values(options, MailboxesRequest(options.largest))]
    if options.json:
        keys = ("protocol", "id", "messages", "bytes")
        found = [dict(zip(keys, [*row[:2], *map(int, row[2:])], strict=True)) for row in rows]
        _print_json({"mailboxes": found})
        return
    for protocol, client_id, messages, size in rows:
        print(f"{protocol} {client_id}: {messages} messages, {size} bytes")


def _expire(options: argparse.Namespace) -> None:
    gone = {name: int(text) for name, text in _values(options, ExpireRequest(options.before))}
    _print_json(gone) if options.json else _print_values(gone.items())


def _print_values(values: Iterable[tuple[str, object]]) -> None:
    for name, value in values:
        print(f"{name}: {value}")


def _print_json(value: object) -> None:
    print(json.dumps(value))


def _escaped(text: str) -> str:
    """What somebody else has chosen, so that it does nothing to a terminal."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _back_up(options: argparse.Namespace) -> None:
    target: Path = options.file.absolute()
    _ask(options, BackupRequest(target))
    _print_checked(target, check_backup(target))


def _check(options: argparse.Namespace) -> None:
    _print_checked(options.file, check_backup(options.file))


def _restore(options: argparse.Namespace) -> None:
    database: Path = options.database.absolute()
    restored = restore_backup(options.file, database)
    if restored.kept is not None:
        print(f"{restored.kept}: this is what was there before")
    _print_checked(database, restored.checked)


def _invite(options: argparse.Namespace) -> None:
    _ask(options, InviteRequest())


def _release(options: argparse.Namespace) -> None:
    _ask(options, ReleaseRequest(options.name))


def _migrate(options: argparse.Namespace) -> None:
    for line in migrate(options.source or options.database, options.target):
        print(line)


def _name(text: str) -> Handle:
    try:
        return Handle.from_text(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _between(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {least} to {most}")
        return number

    return read


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days above 0")
    return days


@frozen
class _Operand:
    """What follows a command: as what, how it is read, what it is; after which option, if any."""

    name: str
    read: Callable[[str], object]
    text: str
    shown: str
    option: str | None = None
    required: bool = True

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Let a command have it."""
        if self.option is None:
            parser.add_argument(self.name, type=self.read, help=self.text, metavar=self.shown)
        else:
            parser.add_argument(
                self.option,
                dest=self.name,
                type=self.read,
                help=self.text,
                metavar=self.shown,
                required=self.required,
            )


@frozen
class _Option:
    """What may follow a command, by its name; ``read`` is None for a switch."""

    name: str
    read: Callable[[str], object] | None
    text: str
    default: object = None
    choices: Sequence[str] | None = None
    required: bool = False

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Let the parser of a command read it."""
        if self.read is None:
            parser.add_argument(f"--{self.name}", action="store_true", help=self.text)
        else:
            parser.add_argument(
                f"--{self.name}",
                type=self.read,
                default=self.default,
                choices=self.choices,
                required=self.required,
                help=self.text,
                metavar=None if self.choices else "N",
            )


_JSON: Final = _Option("json", None, "print JSON")


@frozen
class _Command:
    """What can be done, and what has to be said with it."""

    run: Callable[[argparse.Namespace], None]
    text: str
    operands: Sequence[_Operand | _Option] = ()


_COMMANDS: Final[Mapping[str, _Command]] = {
    "status": _Command(_status, "show how a running relay is", [_JSON]),
    "backup": _Command(
        _back_up,
        "copy the database of a running relay, and check the copy",
        [_Operand("file", Path, "the copy, which must not exist", "FILE")],
    ),
    "check": _Command(
        _check,
        "read all of a backup, and say what it holds",
        [_Operand("file", Path, "the backup", "FILE")],
    ),
    "restore": _Command(
        _restore,
        "put a copy of a backup in the place of the database, while no relay runs",
        [_Operand("file", Path, "the backup, which stays", "FILE")],
    ),
    "migrate": _Command(
        _migrate,
        "move everything from an SQLite database to PostgreSQL, while no relay runs",
        [
            _Operand(
                "source",
                Path,
                "the SQLite database, which stays as it is (default: that of --database)",
                "PATH",
                option="--from",
                required=False,
            ),
            _Operand(
                "target",
                str,
                "where to: postgresql://user@host/database, with empty tables or none",
                "ADDRESS",
                option="--to",
            ),
        ],
    ),
    "invite": _Command(_invite, "make a token with which one account of v3 can be registered"),
    "release-name": _Command(
        _release,
        "let a name of a deleted account of v3 be given out again",
        [_Operand("name", _name, "the name", "NAME")],
    ),
    "users": _Command(
        _users,
        "count the users, or list their ids and names",
        [
            _Option("names", str, "list those of a protocol", choices=PROTOCOLS),
            _Option("after", _between(0, 2**63 - 1), "where to go on (default: 0)", 0),
            _Option("limit", _between(1, USERS_LIMIT), "names at once (default: 100)", 100),
            _JSON,
        ],
    ),
    "mailboxes": _Command(
        _mailboxes,
        "list the mailboxes in which most waits",
        [
            _Option(
                "largest",
                _between(1, MAILBOXES_LIMIT),
                "so many of each protocol (default: 20)",
                20,
            ),
            _JSON,
        ],
    ),
    "expire": _Command(
        _expire,
        "delete mail that has waited for too long",
        [_Option("before", _days, "for more than N days", required=True), _JSON],
    ),
}


def _ask(options: argparse.Namespace, request: Request) -> None:
    _print_values(_values(options, request))


def _values(options: argparse.Namespace, request: Request) -> Sequence[tuple[str, str]]:
    """What a relay tells, by name."""
    values: list[tuple[str, str]] = []
    control: Path = options.control or control_path(options.database)
    for answer in ask(control.absolute(), request):
        match answer:
            case Advance(done, total) if sys.stderr.isatty():
                print(f"\r{done * 100 // max(1, total)} %", end="\r", file=sys.stderr, flush=True)
            case Value(name, text):
                values.append((name, text))
            case Failed(text):
                raise _Refused(text)
    return values


def _print_checked(path: Path, checked: Checked) -> None:
    print(
        f"{path}: sound; schema {checked.schema}, {checked.clients} clients,"
        f" {checked.messages} messages, {checked.accounts} accounts, {checked.mail} envelopes"
    )


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
