"""The contract of a plugin, executable: one promise, one named check.

The whole test module of a plugin::

    import pytest
    from sedd.testing import checks_for

    @pytest.mark.parametrize("check", checks_for(Sigmoid), ids=str)
    def test_contract(check):
        check()

Each check draws instances from the bounds in the types of the options (`parts`), searches for one that breaks its
promise, and raises an `AssertionError` that says which options, where, what came back and what was expected. A check
that this machine cannot run (a GPU that is not there) raises `unittest.SkipTest`, which pytest reports as skipped.
"""

from __future__ import annotations

try:
    import hypothesis as _  # noqa: F401  # only to say what to install where it is missing
except ImportError as error:
    raise ImportError("sedd.testing needs hypothesis: pip install hypothesis") from error

from sedd.testing.checks import Check, checks_for
from sedd.testing.instances import parts

__all__ = ["Check", "checks_for", "parts"]
