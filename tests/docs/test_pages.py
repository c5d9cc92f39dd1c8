"""Every block of commands in the documents is run, or says why it is not."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tools.pages import (
    BadPage,
    Ctrl,
    PageFailed,
    Shell,
    Shown,
    Terminal,
    all_pages,
    read_page,
    run_page,
)

NOT_RUN = {
    "README.md": 2,
    "deploy/README.md": 4,
    "docs/commands.md": 4,
    "docs/howto/backup.md": 1,
    "docs/howto/wireshark.md": 1,
    "docs/json.md": 1,
    "docs/operations.md": 5,
    "docs/tools.md": 1,
    "docs/tutorial.md": 1,
    "fuzz/README.md": 1,
}
"""How many blocks of a page are not run. ``python -m tools.pages`` says which, and why."""

PAGES = {page.name: page for page in all_pages()}


class CollectionTests(SynchronousTestCase):
    """All pages together."""

    def test_not_run(self) -> None:
        """Blocks that are not run are counted, and each has its reason."""
        counted = {name: len(page.not_run) for name, page in PAGES.items() if page.not_run}
        self.assertEqual(counted, NOT_RUN)

    def test_each_page_is_run(self) -> None:
        """Each page that has something to be run has a test that runs it."""
        written = {name for name in vars(PageTests) if name.startswith("test_")}
        self.assertEqual(written, {_name_of(name) for name, page in PAGES.items() if page.steps})


class PageTests(SynchronousTestCase):
    """Pages, as their readers go through them."""

    def test_readme(self) -> None:
        """The first page is right."""
        run_page(PAGES["README.md"])

    def test_docs_bots(self) -> None:
        """A command is run on each message as the page says."""
        run_page(PAGES["docs/bots.md"])

    def test_docs_commands(self) -> None:
        """The examples of all commands go on from each other."""
        run_page(PAGES["docs/commands.md"])

    def test_docs_howto_backup(self) -> None:
        """A relay is backed up and restored as the page says."""
        run_page(PAGES["docs/howto/backup.md"])

    def test_docs_howto_from_v2_to_v3(self) -> None:
        """The way from v2 to v3 is as the page says."""
        run_page(PAGES["docs/howto/from-v2-to-v3.md"])

    def test_docs_howto_registration(self) -> None:
        """With a token one may register, and without one not."""
        run_page(PAGES["docs/howto/registration.md"])

    def test_docs_howto_scripts(self) -> None:
        """Scripts may do as the page does."""
        run_page(PAGES["docs/howto/scripts.md"])

    def test_docs_howto_service(self) -> None:
        """A relay is started with a file of settings as the page says."""
        run_page(PAGES["docs/howto/service.md"])

    def test_docs_operations(self) -> None:
        """What an operator is told to type works."""
        run_page(PAGES["docs/operations.md"])

    def test_docs_tutorial(self) -> None:
        """A newcomer sees what the tutorial shows."""
        run_page(PAGES["docs/tutorial.md"])

    def test_examples_readme(self) -> None:
        """The bot of the examples answers as the page says."""
        run_page(PAGES["examples/README.md"])


def _name_of(page: str) -> str:
    return f"test_{page.removesuffix('.md').replace('/', '_').replace('-', '_').lower()}"


class ReadingTests(SynchronousTestCase):
    """How a page is read."""

    def steps(self, text: str) -> tuple[object, ...]:
        """What is done with a page."""
        return read_page(self.write(text)).steps

    def write(self, text: str) -> Path:
        """A page with a text."""
        path = Path(self.mktemp())
        path.write_text(text, "utf-8")
        return path

    def test_output_belongs_to_commands(self) -> None:
        """A block of text is what the commands before it in its section show."""
        page = "# A\n```sh\nls\n```\nshows\n```text\na\n```\n# B\n```text\nb\n```\n"
        self.assertEqual(self.steps(page), (Shell(2, "ls\n", "a\n"),))

    def test_terminals(self) -> None:
        """A block in a terminal of its own is begun, awaited and interrupted."""
        page = (
            "<!-- terminal it, until: up -->\n```sh\nserve\n```\n<!-- in terminal it -->\n"
            "```text\nthere\n```\n<!-- Ctrl-C in it -->\n"
        )
        expected = Terminal(2, "it", "serve\n", "up"), Shown(6, "it", "there\n"), Ctrl(9, "it")
        self.assertEqual(self.steps(page), expected)

    def test_reason(self) -> None:
        """A block with a reason is not run; the next one is."""
        page = "<!-- not run: no -->\n```sh\nrm\n```\n   ```sh\n   ls\n   ```\n"
        self.assertEqual(self.steps(page), (Shell(5, "ls\n"),))
        self.assertEqual(read_page(self.write(page)).not_run, {2: "no"})

    def test_without_a_label(self) -> None:
        """A block that does not say what it is, is refused."""
        for label in ("", "bash", "console"):
            self.assertRaises(BadPage, self.steps, f"```{label}\nls\n```\n")

    def test_fenced_otherwise(self) -> None:
        """A block that would be passed over is refused."""
        indented = "A\n\n    ls\n"
        for page in (indented, "~~~sh\nls\n~~~\n", "> ```sh\n> ls\n> ```\n", "```sh\nls\n"):
            self.assertRaises(BadPage, self.steps, page)

    def test_comment_without_a_block(self) -> None:
        """A reason that belongs to nothing is refused."""
        self.assertRaises(BadPage, self.steps, "<!-- not run: no -->\n")


class RunningTests(SynchronousTestCase):
    """How a page is run."""

    def run_text(self, text: str) -> None:
        """Run a page with a text."""
        path = Path(self.mktemp()).resolve()
        path.write_text(text, "utf-8")
        run_page(read_page(path))

    def fails(self, text: str) -> str:
        """What is said of a page that does not hold."""
        return str(self.assertRaises(PageFailed, self.run_text, text))

    def test_one_session(self) -> None:
        """What a block has set is there in the next one; ports and folders are told as in the page."""
        self.run_text(
            "```sh\na=1357\nb=/var/lib\n```\n```sh\necho $a; echo 1; echo 2; echo $b\n```\n"
            "```text\n1357\n…\n/va…b\n```\n"
        )

    def test_failure(self) -> None:
        """A command that fails ends the page, and is told with its line and what it says."""
        said = self.fails("# A\n\n```sh\necho so; false; true\n```\n")
        self.assertIn(":3: it fails; it says:\nso\n", said)

    def test_other_output(self) -> None:
        """Output that is not as it stands in the page is told."""
        for shown in ("a", "b\n…\nc", "", "b\nb"):
            said = self.fails(f"```sh\necho b\n```\n```text\n{shown}\n```\n")
            self.assertIn(":1: it shows something else:\nb\n", said)

    def test_terminal_that_ends(self) -> None:
        """A program that ends without having shown what it should is told."""
        said = self.fails("<!-- terminal it, until: up -->\n```sh\necho down\n```\n")
        self.assertIn("it does not show it, but:\ndown\n", said)
