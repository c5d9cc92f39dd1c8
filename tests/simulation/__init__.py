"""A deterministic simulation: a relay with its disk, the network and several clients, on one clock
in memory, from one seed. What the clients saw is then judged by rules.

To see what happened in a run, and whether it is well:

    SEED=17 .venv/bin/trial tests.simulation

and to try others than those of every run, beginning with some seed:

    FIRST_SEED=1000000 .venv/bin/trial tests.simulation
"""
