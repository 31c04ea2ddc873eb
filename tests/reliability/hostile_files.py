"""Files that nobody writes by accident: bombs, pickles, special files, control characters, deep nesting."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

CANARY = "canary"
"""The name of the file that the hostile pickles and tags would make if they were run."""
ESCAPE = "\x1b]0;owned\x07\x1b[31m\x1b[2J"


class Evil:
    """What a pickle does when it is loaded: it makes the file of its path."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mknod, (self.canary,))


def evil_pickle(folder: Path) -> bytes:
    """A pickle that makes the canary."""
    return pickle.dumps(Evil(str(folder / CANARY)))


def yaml_texts(folder: Path) -> dict[str, bytes]:
    """Values of YAML, each of which may stand alone, in a section, or in an override."""
    canary = folder / CANARY
    bomb = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(12))
    merge = "".join(f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9) if i else '{k: 1}'}]}}\n" for i in range(8))
    flow = "[" + ", ".join(f"&b{i} [{', '.join([f'*b{i - 1}'] * 9) if i else 'lol'}]" for i in range(11)) + "]"
    texts = {
        "bomb": bomb,
        "merge bomb": merge,
        "flow bomb": flow,
        "recursive": "&a [*a]",
        "recursive map": "&a {k: *a}",
        "self merge": "&a {<<: *a}",
        "apply": f"!!python/object/apply:os.mknod ['{canary}']",
        "apply system": f"!!python/object/apply:os.system ['touch {canary}']",
        "name": "!!python/name:os.system",
        "module": "!!python/module:os",
        "object": "!!python/object:os._wrap_close {}",
        "unknown tag": "!evil x",
        "binary": "!!binary R0lGODlhDAAMAIQAAP",
        "bad binary": "!!binary '!!!'",
        "set": "!!set {a, b}",
        "omap": "!!omap [a: 1, a: 2]",
        "pairs": "!!pairs [a: 1]",
        "timestamp": "2001-12-14t21:59:43.10-05:00",
        "bad timestamp": "2001-99-99",
        "int tag": "!!int x",
        "float tag": "!!float x",
        "bool tag": "!!bool x",
        "null tag": "!!null x",
        "list key": "{[1]: 2}",
        "map key": "{{a: 1}: 2}",
        "null key": "{null: 2}",
        "float key": "{1.5: 2}",
        "bool key": "{true: 1}",
        "twice": "{a: 1, a: 2}",
        "huge int": "9" * 5000,
        "huge hex": "0x" + "f" * 5000,
        "huge float": "1e999",
        "inf": ".inf",
        "nan": ".nan",
        "sexagesimal": "1:" * 900,
        "octal": "0o777",
        "minus zero": "-0.0",
        "control": '"\\x1b[31m\\a"',
        "nul": '"\\0"',
        "escape": ESCAPE,
        "brackets": "[red]bold[/red]",
        "unclosed": "[red",
        "tab": "\tx",
        "long": "x" * 300_000,
        "anchors": "&a &b x",
        "undefined": "*nothing",
        "percent": "%YAML 9.9",
        "documents": "a: 1\n---\nb: 2",
        "quote": "'",
        "colon": ":",
        "surrogate": '"\\ud800"',
        "wide": '"\\U0010ffff"',
        "empty": "",
        "spaces": "   ",
        "comment": "# only",
    }
    for depth in (50, 1_000, 30_000):
        texts |= {f"lists {depth}": "[" * depth, f"closed lists {depth}": "[" * depth + "]" * depth}
        texts |= {f"maps {depth}": "{a: " * depth, f"closed maps {depth}": "{a: " * depth + "1" + "}" * depth}
    texts |= {"dashes": "- " * 3_000 + "x", "questions": "? " * 3_000 + "x"}
    texts["indents"] = "\n".join(" " * i + f"k{i}:" for i in range(1_200))
    return {name: text.encode("utf-8", "surrogatepass") for name, text in texts.items()}


def raw_texts(folder: Path) -> dict[str, bytes]:
    """Bytes that are no text, or not the expected kind of text."""
    return {
        "pickle": evil_pickle(folder),
        "random": bytes(range(256)) * 40,
        "nuls": bytes(5_000),
        "utf-16": b"\xff\xfea\0",
        "utf-8 error": b"a: \xff\xfe\n",
        "html": b"<html><script>alert(1)</script></html>",
        "zip": b"PK\x03\x04" + b"x" * 99,
        "gzip": gzip.compress(b"a: 1\n" * 9),
        "gzip bomb": gzip.compress(bytes(200_000_000), 9),
        "truncated gzip": gzip.compress(b">a\nACD\n" * 999)[:60],
        "one line": b"A" * 3_000_000,
        "newlines": b"\n" * 100_000,
        "carriage returns": b"\r" * 100_000,
        "deep json": b"[" * 200_000,
        "deep objects": b'{"a":' * 100_000,
        "elf": b"\x7fELF" + bytes(100),
        "shebang": b"#!/bin/sh\ntouch canary\n",
        "big": b">a\n" + b"ACDEFG\n" * 200_000,
    }


def fasta_texts() -> dict[str, bytes]:
    """Sequences of proteins with hostile names and layouts."""
    good = ">ok\nACDEFGHIKLMNPQRSTVWY\n"
    texts = {
        "escape in a name": f">{ESCAPE}\nACDEF\n",
        "nul in a name": ">a\0b\nACDEF\n",
        "bell": ">a\x07\nACDEF\n",
        "formula": ">=cmd|'/C calc'!A0\nACDEF\n",
        "at": ">@SUM(1)\nACDEF\n",
        "markup": ">[red]x[/red]\nACDEF\n",
        "unclosed markup": ">[/]\nACDEF\n",
        "path": ">../../etc/passwd\nACDEF\n",
        "script": "><script>1</script>\nACDEF\n",
        "c1": ">a\x9b31m\nACDEF\n",
        "bidi": ">\u202eabc\nACDEF\n",
        "long name": f">{'n' * 1_000_000}\nACDEF\n",
        "empty names": ">\nACDEF\n" * 50,
        "same names": ">a\nACDEF\n" * 50,
        "only headers": ">a\n" * 2_000,
        "headers in headers": ">>>>>>\nACDEF\n",
        "indented headers": "".join(f"{' ' * 3}>a{i}\nACD\n" for i in range(1_800)),
        "glued headers": "ACD>a" * 2_000,
        "comments": ";x\n" * 50_000 + ">a\nACDEF\n",
        "spaces": ">a\n" + "A " * 200_000,
        "one residue a line": ">a\n" + "A\n" * 200_000,
        "digits": ">a\n" + "1A" * 9_999,
        "stars": ">a\n" + "*" * 9_999,
        "unknown letters": ">a\n" + "X" * 9_999,
        "letters that are not ASCII": ">a\nÄÖÜß\n",
        "cyrillic": ">a\nАСЕ\n",
        "vertical tabs": ">a\v\nAC\vD\n",
        "form feeds": ">a\f\nAC\fD\n",
        "no end": ">a",
        "crs": ">a\rACD\r>b\rACD\r",
        "mixed ends": ">a\r\nACD\n>b\rACD\r\n",
        "bom": "\ufeff>a\nACDEF\n",
        "boms": "\ufeff" * 99 + ">a\nACDEF\n",
    }
    return {name: (good * 4 + text + "\n" + good).encode() for name, text in texts.items()}


def json_texts() -> dict[str, Any]:
    """Values that a file of JSON may hold in place of what is expected."""
    deep: Any = {}
    for _ in range(400):
        deep = {"a": [deep]}
    return {
        "null": None,
        "list": [],
        "text": "x",
        "number": 7,
        "empty": {},
        "true": True,
        "deep": deep,
        "nan": float("nan"),
        "inf": float("inf"),
        "minus": -1,
        "huge": 10**400,
        "float": 1e308,
        "escape": ESCAPE,
        "nul": "a\0b",
        "long": "x" * 100_000,
        "many": dict.fromkeys(map(str, range(5_000)), 0),
        "surrogate": "\ud800",
    }


def replaced(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Plain data with one value after the other replaced, at the first two levels."""
    for name, value in json_texts().items():
        for key in data:
            yield f"{key} is {name}", {**data, key: value}
            if isinstance(data[key], dict):
                for inner in data[key]:
                    yield f"{key}.{inner} is {name}", {**data, key: {**data[key], inner: value}}


def json_bytes(data: Any) -> bytes:
    """JSON as Python writes it, with its extensions."""
    return json.dumps(data).encode("utf-8", "surrogatepass")


def safetensors_files(good: bytes, folder: Path) -> dict[str, bytes]:
    """Files in place of a file of tensors."""
    size = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + size])

    def with_header(change: Callable[[dict[str, Any]], Any]) -> bytes:
        copy = json.loads(json.dumps(header))
        data = json_bytes(change(copy) or copy)
        return len(data).to_bytes(8, "little") + data + good[8 + size :]

    first = next(key for key in header if key != "__metadata__")
    changes: dict[str, Any] = {
        "offsets beyond": {"data_offsets": [0, 2**60]},
        "negative": {"data_offsets": [-8, 8]},
        "dtype": {"dtype": "EVIL"},
        "offsets reversed": {"data_offsets": [8, 0]},
        "huge shape": {"shape": [2**40, 2**40]},
        "empty shape": {"shape": []},
        "text shape": {"shape": "x"},
        "float shape": {"shape": [1.5]},
        "complex": {"dtype": "C64"},
        "another dtype": {"dtype": "F64"},
    }
    files = {name: with_header(lambda copy, c=change: copy[first].update(c)) for name, change in changes.items()}
    files |= {
        "pickle": evil_pickle(folder),
        "empty": b"",
        "zeros": bytes(1000),
        "huge header": (2**63).to_bytes(8, "little"),
        "header of 4 GB": (2**32).to_bytes(8, "little") + good[8:],
        "deep header": _deep_header(),
        "no tensors": with_header(lambda copy: copy.clear()),
        "one tensor less": with_header(lambda copy: copy.pop(first)),
        "another name": with_header(lambda copy: copy.update({ESCAPE: copy.pop(first)})),
        "list": (2).to_bytes(8, "little") + b"[]",
        "trailing": good + b"x" * 100,
        "truncated": good[: len(good) // 2],
    }
    return files


def _deep_header() -> bytes:
    data = b"[" * 100_000
    return len(data).to_bytes(8, "little") + data


def special_files(folder: Path) -> dict[str, Path]:
    """Paths that are no regular files, or huge."""
    folder.mkdir(exist_ok=True)
    paths = {name: folder / f"{name}.fasta" for name in ("directory", "loop", "pipe", "sparse", "socket", "missing")}
    paths["directory"].mkdir()
    paths["loop"].symlink_to(paths["loop"].name)
    os.mkfifo(paths["pipe"])
    with paths["sparse"].open("wb") as file:
        file.truncate(2**38)
    server = socket.socket(socket.AF_UNIX)
    previous = Path.cwd()
    os.chdir(folder)  # the path of a socket must be short
    server.bind(paths["socket"].name)
    os.chdir(previous)
    newline = folder / f"new\nline {ESCAPE}.fasta"
    paths |= {
        "newline": newline,
        "zero": Path("/dev/zero"),
        "full": Path("/dev/full"),
        "null": Path("/dev/null"),
        "memory": Path("/proc/self/mem"),
        "long name": folder / ("n" * 5_000),
        "up": folder / "../../../../etc/passwd",
        "markup": folder / "[red]x[/nonsense].fasta",
        "empty name": Path(""),
        "shadow": Path("/proc/self/environ"),
    }
    return paths
