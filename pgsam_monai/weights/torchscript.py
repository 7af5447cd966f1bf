"""TorchScript archives, the form of OpenAI's CLIP, as state dicts: nothing in them is run, unpickled or compiled.

Such an archive is a ZIP of stored tensors, of code, and of `data.pkl`, a pickle of the module tree. Its opcodes are
read here one by one, by a reader that knows tensors, modules' attributes and plain numbers, and refuses all else.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TREE_BYTES, CODE_BYTES = 1 << 26, 1 << 26
"""Most of the module tree, and of all code, that are read."""
REBUILD, ORDERED = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
LISTS = tuple(
    f"torch.jit._pickle {name}"
    for name in (
        "restore_type_tag",
        "build_intlist",
        "build_doublelist",
        "build_boollist",
        "build_tensorlist",
    )
)
"""Say what a list, their first argument, is made of."""
TYPES = {
    "torch HalfStorage": "float16", "torch FloatStorage": "float32", "torch DoubleStorage": "float64",
    "torch BFloat16Storage": "bfloat16", "torch LongStorage": "int64", "torch IntStorage": "int32",
    "torch BoolStorage": "bool", "torch ByteStorage": "uint8",
}  # fmt: skip
"""Number type of each kind of storage."""


class Unreadable(ValueError):
    """An archive holds what no module of tensors has; the message says what."""


@dataclass
class Module:
    """A module of the tree: its attributes, in which tensors and further modules are."""

    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stored:
    """A storage of the archive."""

    dtype: str
    key: str
    """its entry below data/"""


@dataclass(frozen=True)
class View:
    """A tensor: which part of which storage."""

    storage: Stored
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def is_torchscript(file: Path) -> bool:
    """Whether a file is a TorchScript archive; torch.save's have no code."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any("/code/" in name for name in archive.namelist())
    except Exception:  # zipfile raises whatever damaged fields lead to
        return False


def read_torchscript(file: Path) -> dict[str, Tensor]:
    """The parameters, buffers and other tensors of an archive's module, by their paths in it.

    Raises:
        Unreadable: it holds what a module of plain tensors doesn't, or isn't whole.
        zipfile.BadZipFile: an entry isn't as it was written.
    """
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        limit = file.stat().st_size
        tree = module_tree(_content(archive, entries, "data.pkl", limit=min(limit, TREE_BYTES)))
        storages: dict[Stored, Tensor] = {}
        state = {}
        for name, view in _views(tree):
            if view.storage not in storages:
                content = _content(archive, entries, f"data/{view.storage.key}", limit=limit)
                storages[view.storage] = _storage(content, view.storage)
            state[name] = _placed(storages[view.storage], view, name)
    return state


def code_holds(file: Path, text: str) -> bool:
    """Whether a text, such as a function's name, occurs in an archive's code."""
    left = CODE_BYTES
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if "/code/" in name and name.endswith(".py"):
                with archive.open(name) as stream:
                    content = stream.read(left)
                if text.encode() in content:
                    return True
                left -= len(content)
    return False


def module_tree(pickled: bytes) -> Module:
    """What `data.pkl` describes, by its opcodes.

    Raises:
        Unreadable: an opcode, or a name to be called, that no module of tensors needs.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            machine.do(opcode.name, argument)
        (tree,) = machine.stack
    except Unreadable:
        raise
    except Exception as error:  # whatever damaged opcodes lead to
        raise Unreadable(f"its module tree is damaged ({type(error).__name__})") from error
    if not isinstance(tree, Module):
        raise Unreadable("it holds no module")
    return tree


class _Machine:
    """A stack and a memory, as pickle has them, but no way to import or call."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memory: dict[int, Any] = {}

    def do(self, opcode: str, argument: Any) -> None:
        if opcode in PUSHED:
            self.stack.append(PUSHED[opcode](argument))
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memory[argument] = self.stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memory[argument])
        elif opcode == "MARK":
            self.marks.append(len(self.stack))
        elif opcode in TUPLES:
            self.stack.append(tuple(self.popped(TUPLES[opcode])))
        elif opcode in ("SETITEMS", "APPENDS", "SETITEM", "APPEND"):
            count = {"SETITEM": 2, "APPEND": 1}.get(opcode)
            self.extend(self.popped(count))
        elif opcode in CALLED:
            *before, after = self.popped(2)
            self.stack.append(CALLED[opcode](*before, after))
        elif opcode == "BINPERSID":
            self.stack.append(_stored(self.stack.pop()))
        elif opcode not in ("PROTO", "STOP"):
            raise Unreadable(f"its module tree has the opcode {opcode}")

    def popped(self, count: int | None) -> list[Any]:
        """The last `count` values, or those since the last mark."""
        begin = self.marks.pop() if count is None else len(self.stack) - count
        taken = self.stack[begin:]
        del self.stack[begin:]
        return taken

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update(zip(items[::2], items[1::2], strict=True))
        elif isinstance(target, list):
            target.extend(items)
        else:
            raise Unreadable(f"its module tree adds to a {type(target).__name__}")


def _made(kind: Any, arguments: Any) -> Module:
    if not (isinstance(kind, _Name) and kind.startswith("__torch__") and arguments == ()):
        raise Unreadable(f"its module tree has an object of {kind}")
    return Module()


def _built(module: Any, attributes: Any) -> Module:
    if not (isinstance(module, Module) and isinstance(attributes, dict)):
        raise Unreadable("its module tree has an object without attributes")
    module.attributes.update(attributes)
    return module


def _reduced(called: Any, arguments: Any) -> Any:
    if not isinstance(called, _Name) or not isinstance(arguments, tuple):
        raise Unreadable("its module tree calls what has no name")
    if called == ORDERED and arguments == ():
        return {}
    if called in LISTS and isinstance(arguments[0], list | dict):
        return arguments[0]
    if called != REBUILD:
        raise Unreadable(f"its module tree calls {called}")
    storage, offset, size, stride = arguments[:4]
    numbers = (offset, *size, *stride)
    if not (isinstance(storage, Stored) and all(type(number) is int and number >= 0 for number in numbers)):
        raise Unreadable("its module tree has a tensor without a place")
    return View(storage, offset, tuple(size), tuple(stride))


def _stored(told: Any) -> Stored:
    if not (isinstance(told, tuple) and len(told) == 5 and told[0] == "storage" and told[1] in TYPES):
        raise Unreadable("its module tree has a storage of another kind")
    if not (isinstance(told[2], str) and told[2].isdigit()):
        raise Unreadable("its module tree names another place than a storage")
    return Stored(TYPES[told[1]], told[2])


class _Name(str):
    """Of a class or function, which is only compared."""


PUSHED: dict[str, Callable[[Any], Any]] = {
    "GLOBAL": _Name, "BINUNICODE": str, "BININT": int, "BININT1": int, "BININT2": int, "LONG1": int,
    "BINFLOAT": float, "NEWTRUE": lambda _: True, "NEWFALSE": lambda _: False, "NONE": lambda _: None,
    "EMPTY_TUPLE": lambda _: (), "EMPTY_DICT": lambda _: {}, "EMPTY_LIST": lambda _: [],
}  # fmt: skip
TUPLES: dict[str, int | None] = {"TUPLE": None, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
CALLED: dict[str, Callable[[Any, Any], Any]] = {"NEWOBJ": _made, "BUILD": _built, "REDUCE": _reduced}


def _views(tree: Module) -> Iterator[tuple[str, View]]:
    """Every tensor with its path. Raises Unreadable for a tree that holds itself."""
    waiting = [("", tree, frozenset[int]())]
    while waiting:
        path, module, above = waiting.pop()
        if id(module) in above:
            raise Unreadable("its module tree holds itself")
        for name, value in module.attributes.items():
            if isinstance(value, Module):
                waiting.append((f"{path}{name}.", value, above | {id(module)}))
            elif isinstance(value, View):
                yield f"{path}{name}", value


def _content(
    archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], name: str, *, limit: int
) -> bytes:
    """An entry's bytes, whose checksum is compared; never more than the archive has."""
    entry = entries.get(name)
    if entry is None or entry.compress_type != zipfile.ZIP_STORED or entry.file_size > limit:
        raise Unreadable(f"its entry {name} is missing, compressed or too large")
    return archive.read(entry)


def _storage(content: bytes, stored: Stored) -> Tensor:
    import torch

    dtype = getattr(torch, stored.dtype)
    if len(content) % dtype.itemsize:
        raise Unreadable(f"its storage {stored.key} is cut short")
    return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _placed(storage: Tensor, view: View, name: str) -> Tensor:
    if len(view.size) != len(view.stride):
        raise Unreadable(f"'{name}' has no shape")
    last = view.offset + sum((size - 1) * step for size, step in zip(view.size, view.stride, strict=True))
    if 0 not in view.size and last >= len(storage):
        raise Unreadable(f"'{name}' lies outside of its storage")
    return storage.as_strided(view.size, view.stride, view.offset)
