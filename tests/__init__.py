"""The tests mirror ``src/messageu``.

A profile of hypothesis is chosen here, before the first test is loaded: HYPOTHESIS_PROFILE names
it, and without a name it is "ci" where CI is set and "dev" elsewhere; "brief" is for the lowest
versions. "ci" takes the same examples each time, so that half of them says as much there. None has a
deadline: a slow machine is no failure.
"""

import os

from hypothesis import settings

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50, print_blob=True)
settings.register_profile("brief", settings.get_profile("ci"), max_examples=20)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
)
