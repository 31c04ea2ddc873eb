"""What `data.alphabet` stands for: an alphabet, or one that only the data can say, and how residues are read in it."""

from __future__ import annotations

from sedd.config.alphabet import SECTION, OwnSymbols
from sedd.config.sections import Residues
from sedd.data.alphabet import BUILT_IN, Alphabet, alphabet_of
from sedd.errors import DataError, PluginError
from sedd.plugins.contracts import Vocabulary
from sedd.plugins.registry import registry, source_of
from sedd.plugins.symbols import unreadable
from sedd.plugins.vocabularies import FoundInData

OWN = "own"
"""The name of an alphabet that a run file lists."""


def found_in_data(chosen: str | OwnSymbols) -> bool:
    """Whether the symbols of this `data.alphabet` are those that occur in the data."""
    return chosen in ("text", "ids")


def fixed_alphabet(chosen: str | OwnSymbols) -> Alphabet | None:
    """The alphabet that `data.alphabet` stands for; None where it depends on the data.

    Raises:
        PluginError: if a plugin has no such vocabulary, or one that cannot be used; names the plugin.
    """
    if isinstance(chosen, OwnSymbols):
        return Alphabet(OWN, chosen.listed, chosen.separator)
    if chosen in BUILT_IN:
        return BUILT_IN[chosen]
    return None if found_in_data(chosen) else _of_plugin(_vocabulary(chosen))


def residue_policy(chosen: str | OwnSymbols, residues: Residues) -> Residues:
    """The policy `residues`, whose default substitutions are those of the vocabulary: of proteins alone U as C."""
    if residues.substitute != Residues().substitute:
        return residues
    own = {} if isinstance(chosen, OwnSymbols) else _substitutions(_vocabulary(chosen))
    return residues.model_copy(update={"substitute": own})


def _substitutions(vocabulary: Vocabulary) -> dict[str, str]:
    try:
        return {str(old): str(new) for old, new in vocabulary.substitutions().items()}
    except Exception as error:  # a plugin may fail in any way
        named = _named(type(vocabulary))
        raise PluginError(f"{named}: substitutions() failed ({type(error).__name__}: {error})") from error


def _vocabulary(name: str) -> Vocabulary:
    cls = registry().of(SECTION).get(name)
    if cls is None:
        raise PluginError(f"data.alphabet={name}: no installed plugin has it; install the one that provides it")
    try:
        made = cls()
    except ValueError as error:
        raise PluginError(f"{_named(cls)} cannot be made without options: {error}") from error
    assert isinstance(made, Vocabulary)  # noqa: S101  # tells the type checker
    return made


def _of_plugin(vocabulary: Vocabulary) -> Alphabet:
    cls = type(vocabulary)
    if isinstance(vocabulary, FoundInData):
        raise PluginError(f"{_named(cls)}: its symbols are not fixed")
    try:
        if (problem := unreadable(vocabulary.symbols(), vocabulary.separator)) is not None:
            raise DataError(problem)
        return alphabet_of(vocabulary)
    except Exception as error:  # a plugin may fail in any way
        raise PluginError(f"{_named(cls)} cannot be used ({type(error).__name__}: {error})") from error


def _named(cls: type[object]) -> str:
    origin = source_of(cls) if issubclass(cls, Vocabulary) else None
    return f"the alphabet {cls.__qualname__}" + (f" of {origin}" if origin else "")
