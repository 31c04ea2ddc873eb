"""What a checkpoint holds may be anything, even where its hashes are right: someone else may have written it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from sedd.errors import SeddError
from sedd.runs.manifest import DamagedError

F = TypeVar("F", bound=Callable[..., Any])


def refusing_alien_content(function: F) -> F:
    """Decorate a function that reads the content of the checkpoint at a path, its first argument.

    Raises:
        DamagedError: by the function, in place of what a missing key or a value of another kind leads to.
    """

    @wraps(function)
    def refusing(path: str | Path, *arguments: Any, **options: Any) -> Any:
        try:
            return function(path, *arguments, **options)
        except SeddError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = f"{type(error).__name__}: {error}"
            message = f"its content is not that of a checkpoint ({reason}); use another one"
            raise DamagedError(message, file=Path(path)) from error

    return cast(F, refusing)
