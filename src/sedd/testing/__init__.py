"""The contract of plugins as executable checks, each of which tests one requirement.

The complete test module of a plugin::

    import pytest
    from sedd.testing import checks_for

    @pytest.mark.parametrize("check", checks_for(Sigmoid), ids=str)
    def test_contract(check):
        check()

Each check draws instances from the bounds in the types of the options (`parts`), searches for one that violates the
requirement, and raises an `AssertionError` with the options, the place, the value and what was expected. A check that
this machine cannot run (for lack of a GPU) raises `unittest.SkipTest`, which pytest reports as skipped.
"""

from __future__ import annotations

try:
    import hypothesis as _  # noqa: F401  # for an error message with what to install
except ImportError as error:
    raise ImportError("sedd.testing needs hypothesis: pip install hypothesis") from error

from sedd.testing.checks import Check, checks_for
from sedd.testing.instances import parts

__all__ = ["Check", "checks_for", "parts"]
