"""What is shipped: the wheel holds the package, its types and the plugin, and twistd finds it."""

from __future__ import annotations

import subprocess
import sys
from configparser import ConfigParser
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

from twisted.trial.unittest import SynchronousTestCase

import messageu

ROOT = Path(__file__).resolve().parent.parent


class WheelTests(SynchronousTestCase):
    """The wheel, as pip would build it."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        finished = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)],
            capture_output=True,
            check=False,
            cwd=ROOT,
            text=True,
        )
        self.assertEqual(finished.returncode, 0, finished.stderr)
        (self.wheel,) = folder.glob("*.whl")
        with ZipFile(self.wheel) as archive:
            self.names = set(archive.namelist())
            self.texts = {
                Path(name).name: archive.read(name).decode()
                for name in self.names
                if ".dist-info/" in name
            }

    def test_whole_package_is_shipped(self) -> None:
        """Every file of the package is in the wheel, with the marker of its types."""
        source = ROOT / "src"
        files = {
            str(path.relative_to(source))
            for path in (source / "messageu").rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        self.assertIn("messageu/py.typed", files)
        self.assertEqual(files - self.names, set())

    def test_manual_pages_are_shipped(self) -> None:
        """The manual pages go where man looks for them."""
        pages = {path.name for path in (ROOT / "docs/man").iterdir()}
        shipped = f"messageu-{messageu.__version__}.data/data/share/man/man1/"
        self.assertIn("messageu.1", pages)
        self.assertEqual({f"{shipped}{page}" for page in pages} - self.names, set())

    def test_nothing_else_is_shipped(self) -> None:
        """Beside the package there are the plugin, the manual and the metadata: no tests, no tools,
        and no ``__init__`` that would take the name ``twisted`` away from Twisted."""
        others = {
            name
            for name in self.names
            if not name.startswith("messageu/")
            and ".dist-info/" not in name
            and ".data/data/share/man/man1/" not in name
        }
        self.assertEqual(others, {"twisted/plugins/messageu_plugin.py"})

    def test_metadata_is_complete(self) -> None:
        """The metadata names the console scripts, the licence and the floors."""
        scripts = ConfigParser()
        scripts.read_string(self.texts["entry_points.txt"])
        self.assertEqual(
            dict(scripts["console_scripts"]),
            {
                "messageu": "messageu.__main__:main",
                "messageu-admin": "messageu.admin.__main__:main",
            },
        )
        self.assertIn("MIT License", self.texts["LICENSE"])
        said = message_from_string(self.texts["METADATA"])
        self.assertEqual(said["Version"], messageu.__version__)
        self.assertEqual(said["License-Expression"], "MIT")
        self.assertEqual(said["Requires-Python"], ">=3.11")
        needed = [need for need in said.get_all("Requires-Dist", []) if "extra ==" not in need]
        self.assertIn("twisted>=26.4", needed)
        self.assertEqual(len(needed), 13)

    def test_installed_plugin_is_found(self) -> None:
        """twistd offers ``messageu`` when it comes from the wheel and not from a checkout."""
        place = Path(self.mktemp()).absolute()
        with ZipFile(self.wheel) as archive:
            archive.extractall(place)
        script = f"""
import sys
checkout = {[str(ROOT), str(ROOT / "src")]!r}
sys.path[:] = [{str(place)!r}] + [path for path in sys.path if path not in checkout]
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
(found,) = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "messageu"]
import messageu
print(found.module, messageu.__file__)
"""
        finished = subprocess.run(
            [sys.executable, "-I", "-c", script],
            capture_output=True,
            check=False,
            cwd=place,
            text=True,
        )
        self.assertEqual(finished.returncode, 0, finished.stderr)
        self.assertEqual(
            finished.stdout.split(), ["messageu.tap", str(place / "messageu" / "__init__.py")]
        )

    def test_relay_starts_from_the_wheel(self) -> None:
        """``messageu-admin serve`` finds the relay without a checkout and without a twistd in the
        PATH, as pipx and uv install it."""
        place = Path(self.mktemp()).absolute()
        with ZipFile(self.wheel) as archive:
            archive.extractall(place)
        script = f"""
import sys
checkout = {[str(ROOT), str(ROOT / "src")]!r}
sys.path[:] = [{str(place)!r}] + [path for path in sys.path if path not in checkout]
from messageu.admin.__main__ import main
main(["serve", "--show-config"])
"""
        finished = subprocess.run(
            [sys.executable, "-I", "-c", script],
            capture_output=True,
            check=False,
            cwd=place,
            env={},
            text=True,
        )
        self.assertEqual((finished.returncode, finished.stderr), (0, ""))
        self.assertIn("database = ", finished.stdout)


class CheckoutTests(SynchronousTestCase):
    """The checkout, installed as make does it."""

    def test_twistd_and_twist_know_the_relay(self) -> None:
        """Both commands list ``messageu``: a plugin that fails to import is left out in silence."""
        for command in ("twistd", "twist"):
            finished = subprocess.run(
                [str(Path(sys.executable).parent / command), "--help"],
                capture_output=True,
                check=False,
                text=True,
            )
            self.assertRegex(finished.stdout, r"\n +messageu +A store-and-forward relay")
