"""The alert rules and the dashboard name metrics and labels that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from messageu.server._exposition import Kind
from messageu.server._metrics import FAMILIES

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SERIES = {
    name + suffix: family
    for name, family in FAMILIES.items()
    for suffix in (("_bucket", "_sum", "_count") if family.kind is Kind.HISTOGRAM else ("",))
}
NAME = re.compile(r"\bmessageu_\w+")
SELECTED = re.compile(r"\b(messageu_\w+)\{([^}]*)\}")
RULES = (DEPLOY / "prometheus" / "messageu.rules.yml").read_text("utf-8")
DASHBOARD = json.loads((DEPLOY / "grafana" / "messageu.json").read_text("utf-8"))


def rules() -> dict[str, str]:
    """The expressions of the alerts, by their names."""
    parts = re.split(r"^ +- alert: ", RULES, flags=re.MULTILINE)[1:]
    return {
        part.split()[0]: part.partition("expr:")[2].partition("\n        for:")[0] for part in parts
    }


def targets() -> Iterator[tuple[str, dict[str, str]]]:
    """What each panel shows, with the title of the panel."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target


class MonitoringTests(SynchronousTestCase):
    """deploy/prometheus and deploy/grafana."""

    def check(self, where: str, expression: str) -> None:
        """Every series of an expression exists, and has the labels that are asked for."""
        names = NAME.findall(expression)
        for name in names:
            self.assertIn(name, SERIES, where)
        for name, selection in SELECTED.findall(expression):
            for label in re.findall(r"(\w+) *(?:=~|!=|!~|=)", selection):
                self.assertIn(label, {*SERIES[name].labels, "instance", "job"}, where)

    def test_alerts(self) -> None:
        """Each alert is about series that exist; up, which Prometheus makes, aside."""
        self.assertGreater(len(rules()), 5)
        for name, expression in rules().items():
            self.assertTrue(NAME.search(expression) or "up{" in expression, name)
            self.check(name, expression)

    def test_words_of_labels(self) -> None:
        """The values that alerts look for are ones that a relay tells."""
        from messageu.model.v3 import Reason
        from messageu.server._readiness import Condition

        known = {each.value for each in Condition} | {each.name.lower() for each in Reason}
        known |= {"answered", "refused", "failed"}
        sought = re.findall(r'(?:condition|outcome)=~?"([^"]*)"', RULES)
        self.assertEqual(len(sought), 2)
        for words in sought:
            self.assertLessEqual(set(words.split("|")), known)

    def test_panels(self) -> None:
        """Each panel shows series that exist, and names them by labels that they have."""
        for title, target in targets():
            self.check(title, target["expr"])
            names = NAME.findall(target["expr"])
            self.assertTrue(names, title)
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                self.assertIn(label, {*SERIES[names[0]].labels, "instance"}, title)

    def test_everything_is_shown(self) -> None:
        """The dashboard shows every family that there is."""
        shown = {
            SERIES[name].name for _, target in targets() for name in NAME.findall(target["expr"])
        }
        self.assertEqual(shown, set(FAMILIES))

    def test_panels_do_not_overlap(self) -> None:
        """Each panel has a number and a place of its own."""
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
        self.assertEqual(len(set(places)), len(places))
        self.assertEqual(len({panel["id"] for panel in DASHBOARD["panels"]}), len(places))
