"""The simulation of v3: its relay and SQLite store, clients with their databases, and the network
between them, on one clock and from one seed.

The clients are the library's cores; their databases are SQLCipher's, in files. TLS is left out: each
connection is given a channel binding. To see what happened in a run, and whether it is well:

    SEED=17 .venv/bin/trial tests.simulation.v3
"""
