"""``twistd`` with other limits: ``limited.py LIMITS ARGUMENT…``, where the first is JSON."""

from __future__ import annotations

import json
import sys
from functools import partial

from twisted.scripts.twistd import run

from messageu import tap
from messageu.server import Limits, LimitSettings

if __name__ == "__main__":
    settings = LimitSettings(**json.loads(sys.argv.pop(1)))
    tap.Limits = partial(Limits, settings)
    run()
