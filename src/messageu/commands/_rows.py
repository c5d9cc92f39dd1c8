"""The table of commands: what each is for, what follows it, and examples.

What a command does is in ``messageu.cli``, under the same name; ``chat`` and ``completion`` are
done where the program begins.
"""

from __future__ import annotations

from typing import Any, Final

import click
from attrs import frozen

from ._completion import SHELLS
from ._params import CONTACT, PATH, TOKEN, Operand, Switch

HISTORY_LIMIT: Final = 10_000
"""Messages that ``history`` shows at most: all of them are held at once."""

HISTORY_DEFAULT: Final = 100


@frozen
class Row:
    """A command.

    :ivar text: what it is for, as it stands in a list.
    :ivar params: what follows it.
    :ivar details: what else is to be known, in a paragraph.
    """

    text: str
    params: tuple[click.Parameter, ...] = ()
    details: str = ""
    examples: tuple[str, ...] = ()


def _option(name: str, text: str, **settings: Any) -> click.Option:
    return click.Option([name], help=text, **settings)


_CONTACT: Final = Operand("contact", "What you call somebody, as contacts shows it.", type=CONTACT)
_LABEL: Final = _option("--label", "What to call them.", metavar="NAME")
_YES: Final = Switch("--yes", "Do not ask.")
_JSON: Final = Switch("--json", "One JSON object a line, for programs.")
_NO_PASSPHRASE: Final = Switch("--no-passphrase", "Whoever can read the folder can be you.")
_WAIT: Final = Switch(
    "--wait-delivered",
    "Wait until the recipient has it: of a file all, compared and on the disk.",
)

COMMANDS: Final[dict[str, Row]] = {
    "register": Row(
        "make a profile in this folder, and register its name at a relay",
        (
            Operand("relay", "Its address: messageu://host:port#pin."),
            Operand("name", "3 to 32 of a-z, 0-9, '.', '_', '-'."),
            _option(
                "--token", "From the relay's operator, if he wants one.", type=TOKEN, metavar="HEX"
            ),
            _NO_PASSPHRASE,
        ),
        "The passphrase of the new profile is asked for twice, unless it is given. Doing it again "
        "changes nothing.",
        ("messageu --dir ~/anna register 'messageu://relay.example:1358#…' anna",),
    ),
    "add": Row(
        "add a contact",
        (
            Operand("who", "The link that they gave you, or their name."),
            _LABEL,
            _JSON,
        ),
        "A link holds the key of its owner. A name is looked up at the relay, which could answer with "
        "another: compare safety numbers with verify.",
        ("messageu add 'messageu://relay.example:1358/…#…' --label bern", "messageu add bern"),
    ),
    "link": Row(
        "show the link with which others add you",
        (_JSON,),
        examples=("messageu link",),
    ),
    "send": Row(
        "send a text",
        (
            _CONTACT,
            Operand("text", "-, or nothing: what comes on standard input.", required=False),
            _WAIT,
            _JSON,
        ),
        "While the relay is away the text is kept, with exit code 3, and goes out with the next "
        "command that connects. A text that begins with a dash stands behind --.",
        (
            "messageu send bern 'hello'",
            "df -h | messageu send bern -",
            "messageu send bern --wait-delivered -- '--help is what you want'",
        ),
    ),
    "send-file": Row(
        "send a file",
        (_CONTACT, Operand("path", "Which one.", type=PATH), _WAIT, _JSON),
        "The file must stay where it is, and as it is, until all of it was sent.",
        ("messageu send-file bern film.mkv --wait-delivered",),
    ),
    "inbox": Row(
        "show the messages that were not shown yet",
        (
            Switch("--follow", "And those that will come."),
            _JSON,
            _option(
                "--on-message",
                "With --follow: a line for /bin/sh that is run on each message of a contact, which "
                "it reads from its standard input.",
                metavar="COMMAND",
            ),
            Switch(
                "--notify",
                "With --follow: tell the desktop, or ring the bell, and say from whom it is.",
            ),
        ),
        "Files are put into the folder downloads of the profile.",
        (
            "messageu inbox",
            "messageu inbox --follow --json",
            "messageu inbox --follow --notify --on-message 'cat >>log'",
        ),
    ),
    "history": Row(
        "show what was said with a contact, both ways, the oldest first",
        (
            _CONTACT,
            _option(
                "--search",
                "Only messages with this in their text or their file's name, in either case.",
                metavar="TEXT",
            ),
            _option(
                "--limit",
                f"The last so many, at most {HISTORY_LIMIT}.",
                type=click.IntRange(1, HISTORY_LIMIT),
                default=HISTORY_DEFAULT,
                show_default=True,
                metavar="N",
            ),
            _JSON,
        ),
        "It reads what is kept in the profile, and asks no relay. What you sent is queued, stored "
        "(the relay has it), delivered or undelivered.",
        ("messageu history bern", "messageu history bern --search invoice --limit 5 --json"),
    ),
    "chat": Row(
        "chat on a screen that is live",
        details="Conversations with unread counts, messages as they come, and how far yours are. "
        "It is made for terminals of 80 by 24 and larger ones.",
        examples=("messageu chat",),
    ),
    "contacts": Row(
        "list whom you know, and who asks to write to you",
        (_JSON,),
        examples=("messageu contacts", "messageu contacts --json"),
    ),
    "accept": Row("let somebody write to you", (_CONTACT, _LABEL, _JSON)),
    "block": Row("drop what somebody writes", (_CONTACT,)),
    "unblock": Row("let somebody write to you again", (_CONTACT, _LABEL, _JSON)),
    "rename": Row(
        "call a contact otherwise",
        (_CONTACT, Operand("label", "What you call them from now on.")),
        "Only you see it, and messages stay where they are.",
        ("messageu rename bern 'Bern from the lake'",),
    ),
    "verify": Row(
        "show the safety number that you and a contact compare",
        (_CONTACT, Switch("--confirm", "It was compared, and is the same."), _JSON),
        "Read it to each other over the telephone, or side by side.",
        ("messageu verify bern", "messageu verify bern --confirm"),
    ),
    "display-name": Row(
        "show what you call yourself, or tell your contacts another name",
        (Operand("text", "At most 256 bytes; empty for none.", required=False),),
    ),
    "doctor": Row(
        "look whether all is well, and say what to do",
        (_JSON,),
        "It looks at the address, the files and the disk, the relay, its certificate and clock, the "
        "keys and the account; in a folder of MessageU v2 at what there is of these. Something that "
        "is BAD gives exit code 1, and the line says what to do.",
        ("messageu doctor",),
    ),
    "menu": Row(
        "choose by numbers; this is also what no command gives",
        details="In a folder of MessageU v2 it is the menu of v2. Choices are lines on standard input.",
        examples=("messageu menu", "printf '140\\n0\\n' | messageu"),
    ),
    "reset": Row(
        "go on with this copy of the profile, which is an old one",
        (_YES,),
        "It is for a profile that was restored from a copy. Any other copy must not be used after it.",
    ),
    "export": Row(
        "move the profile into an encrypted file",
        (Operand("file", "Which must not exist.", type=PATH),),
        "The profile in this folder is not used any more afterwards.",
    ),
    "import": Row(
        "make a profile of an exported file",
        (Operand("file", "Which stays.", type=PATH), _NO_PASSPHRASE),
        examples=("messageu --dir ~/anna import anna.profile",),
    ),
    "delete-account": Row(
        "have the relay forget you", (_YES,), "Nobody gets your name again; nor do you."
    ),
    "completion": Row(
        "print what a shell needs to complete commands and contacts",
        (Operand("shell", "One of bash, zsh and fish.", type=click.Choice(SHELLS)),),
        "Names of contacts are completed where the profile has no passphrase, and no other program "
        "has it open.",
        (
            "messageu completion bash >> ~/.bashrc",
            "messageu completion zsh >> ~/.zshrc",
            "messageu completion fish > ~/.config/fish/completions/messageu.fish",
        ),
    ),
}

FILES: Final[dict[str, str]] = {
    "server.info": "where the relay is: messageu://host:port#pin, or for v2 <ip>:<port>",
    "state.db": "v3: the profile, encrypted under its passphrase (with state.kdf)",
    "downloads": "v3: a folder, for the files that came",
    "me.info": "v2: your identity",
    "me.keys": "v2: what is known of others",
}

ENVIRONMENT: Final[dict[str, str]] = {
    "MESSAGEU_PASSPHRASE": "the passphrase, which is asked for otherwise",
    "MESSAGEU_EXPORT_PASSPHRASE": "that of an exported file",
    "NO_COLOR": "when it is not empty there are no colours",
}
