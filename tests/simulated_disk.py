"""A disk that loses power: ``System`` with volatile and durable bytes, for ``DiskFiles`` to run on.

What survives a power cut is what was synced, and of the rest what a ``Survival`` lets through:

- a write is durable with the next sync of its file, a name with that of its folder, and neither before;
- an unsynced write survives whole, by sectors of 512 bytes, torn within one, in another order, or not at all;
- unsynced operations on a folder survive each or not, as the survival says, and take effect in their order;
- a rename takes effect whole or not at all.

A *kill* ends the process alone: everything stays as written, durable or not.

After a sync that failed the device has some of what was unsynced, and of each write a ``Leftover`` says what becomes of
the rest: file systems differ, and a page may leave the cache at any time. A later sync reports success each way.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SECTOR = 512

# How many bytes of ``length`` survive, from the front, of a piece (a sector's part of a write; -1: an operation on a
# folder, where anything but 0 means that it survives) of the effect with this number.
Survival = Callable[[int, int, int], int]


class Leftover(enum.Enum):
    """What a sync that failed has made of a write that it did not write."""

    CLEAN = "the cache shows it, and no later sync writes it, as Linux mostly does it"
    DROPPED = "it is read from the device again: as it was before"
    DIRTY = "it waits still: a later sync, or nothing but time, makes it durable"


class PowerCut(BaseException):
    """The machine is off. No ``Exception``: no code goes on after it."""


class Call(NamedTuple):
    """One call that reached the disk, enough to make it again."""

    name: str
    arguments: tuple[object, ...]


class Content:
    """A file's bytes: sectors that hold only zeros are left out. Copies share their sectors until one is written."""

    __slots__ = ("_fingerprint", "_is_shared", "sectors", "size")

    def __init__(self) -> None:
        self.size = 0
        self.sectors: dict[int, bytes] = {}
        self._is_shared = False
        self._fingerprint: int | None = None

    def copy(self) -> Content:
        other = Content()
        other.size, other.sectors, other._fingerprint = self.size, self.sectors, self._fingerprint
        other._is_shared = self._is_shared = True
        return other

    def _change(self) -> None:
        self._fingerprint = None
        if self._is_shared:
            self.sectors, self._is_shared = dict(self.sectors), False

    def write(self, position: int, data: bytes) -> None:
        self._change()
        self.size = max(self.size, position + len(data))
        if is_long_and_zero(data):
            self._clear(position, position + len(data))
            return
        for start, piece in pieces(position, data):
            number, at = divmod(start, SECTOR)
            old = self.sectors.get(number, _ZERO)
            new = piece if len(piece) == SECTOR else old[:at] + piece + old[at + len(piece) :]
            if new == _ZERO:
                self.sectors.pop(number, None)
            else:
                self.sectors[number] = new

    def resize(self, size: int) -> None:
        self._change()
        if size < self.size:
            self._clear(size, self.size)
        self.size = size

    def _clear(self, start: int, end: int) -> None:
        for number in [number for number in self.sectors if (number + 1) * SECTOR > start and number * SECTOR < end]:
            low, high = max(start - number * SECTOR, 0), min(end - number * SECTOR, SECTOR)
            left = self.sectors[number][:low] + bytes(high - low) + self.sectors[number][high:]
            if left == _ZERO:
                del self.sectors[number]
            else:
                self.sectors[number] = left

    def read(self, position: int, size: int) -> bytes:
        size = max(0, min(size, self.size - position))
        if not size:
            return b""
        first, last = position // SECTOR, (position + size - 1) // SECTOR
        data = bytearray((last - first + 1) * SECTOR)
        numbers = range(first, last + 1)
        for number in numbers if len(numbers) < len(self.sectors) else list(self.sectors):
            if first <= number <= last and (sector := self.sectors.get(number)) is not None:
                data[(number - first) * SECTOR : (number - first + 1) * SECTOR] = sector
        at = position - first * SECTOR
        return bytes(data[at : at + size])

    def fingerprint(self) -> int:
        if self._fingerprint is None:
            self._fingerprint = hash((self.size, frozenset(self.sectors.items())))
        return self._fingerprint


class Written(NamedTuple):
    number: int
    position: int
    data: bytes


class Resized(NamedTuple):
    number: int
    size: int


class Named(NamedTuple):
    """Names of a folder that change together: to another node, or to none."""

    number: int
    names: tuple[tuple[str, Node | None], ...]


class File:
    def __init__(self, durable: Content | None = None) -> None:
        self.durable = durable or Content()
        self.volatile = self.durable.copy()
        self.unsynced: list[Written | Resized] = []
        self.failed = False  # a write or a sync of it failed in this life of the process

    def fail(self, survival: Survival, leftovers: Callable[[], Leftover]) -> None:
        """A sync failed: of the unsynced effects these survive at once, and of each write the rest is left over."""
        self.durable = self.settle(survival)
        cached, dirty = self.durable.copy(), []
        for effect in self.unsynced:
            leftover = leftovers()
            if leftover is Leftover.DIRTY:
                dirty.append(effect)
            if isinstance(effect, Resized):
                cached.resize(effect.size)
            elif leftover is not Leftover.DROPPED:
                cached.write(effect.position, effect.data)
        cached.resize(self.volatile.size)
        self.volatile, self.unsynced = cached, dirty

    def settle(self, survival: Survival) -> Content:
        """What the device holds when of the unsynced effects these survive."""
        content = self.durable.copy()
        for effect in self.unsynced:
            if isinstance(effect, Resized):
                if survival(effect.number, -1, 1):
                    content.resize(effect.size)
                continue
            for at, (start, piece) in enumerate(pieces(effect.position, effect.data)):
                if kept := survival(effect.number, at, len(piece)):
                    content.write(start, piece[:kept])
        return content


class Folder:
    def __init__(self) -> None:
        self.durable: dict[str, Node] = {}
        self.volatile: dict[str, Node] = {}
        self.unsynced: list[Named] = []

    def change(self, *names: tuple[str, Node | None], number: int) -> None:
        effect = Named(number, names)
        self.unsynced.append(effect)
        _apply(self.volatile, effect)

    def sync(self) -> None:
        self.durable = dict(self.volatile)
        self.unsynced.clear()


Node = File | Folder


class Open(NamedTuple):
    node: Node
    path: Path


class _Copier:
    """Copies a tree, a file of two names once. ``entries`` are the names that a folder keeps; None: as it is."""

    def __init__(self, file: Callable[[File], File], entries: Callable[[Folder], dict[str, Node]] | None) -> None:
        self._file, self._entries = file, entries
        self._made: dict[int, Node] = {}

    def copy(self, node: Node) -> Node:
        known = self._made.get(id(node))
        if known is not None:
            return known
        if isinstance(node, File):
            made = self._made[id(node)] = self._file(node)
            return made
        folder = Folder()
        self._made[id(node)] = folder
        if self._entries is not None:
            folder.volatile = self._all(self._entries(node))
            folder.durable = dict(folder.volatile)
        else:
            folder.volatile, folder.durable = self._all(node.volatile), self._all(node.durable)
            folder.unsynced = [Named(effect.number, tuple(self._change(effect))) for effect in node.unsynced]
        return folder

    def _all(self, entries: dict[str, Node]) -> dict[str, Node]:
        return {name: self.copy(inner) for name, inner in entries.items()}

    def _change(self, effect: Named) -> Iterator[tuple[str, Node | None]]:
        for name, inner in effect.names:
            yield name, None if inner is None else self.copy(inner)


# Asked before each call with its name and what it is about: an error number to fail with, else None.
Fault = Callable[[str, str], int | None]


class SimulatedDisk:
    """Made empty, with a root folder. One process runs on it at a time.

    ``trace`` holds the calls that may change what survives. ``cut_after`` calls more, the power goes. A ``fault`` makes
    calls fail; ``short_writes`` makes each write take half of what it is given. ``capacity`` bounds the bytes of all
    files. ``violations`` tells of files that were written or synced again after they had failed.
    """

    def __init__(self, root: Folder | None = None, capacity: int | None = None, seed: int = 0) -> None:
        self.root = root or Folder()
        self.capacity = capacity
        self.fault: Fault | None = None
        self.short_writes = False
        self.trace: list[Call] = []
        self.calls = 0
        self.cut_after: int | None = None
        self.violations: list[str] = []
        self.failed_calls = 0
        self._effects = 0
        self._open: dict[int, Open] = {}
        self._next_descriptor = 3
        self._locks: dict[int, int] = {}
        self._random = random.Random(seed)  # what a sync that fails has written

    # -- between processes

    def after_power_cut(self, survival: Survival) -> SimulatedDisk:
        """Another disk, with what survived on this one. This one stays as it is."""

        def entries(folder: Folder) -> dict[str, Node]:
            kept = dict(folder.durable)
            for effect in folder.unsynced:
                if survival(effect.number, -1, 1):
                    _apply(kept, effect)
            return kept

        return self._with(_Copier(lambda file: File(file.settle(survival)), entries))

    def copy(self) -> SimulatedDisk:
        """Another disk in the same state, for a process that begins now."""

        def file(old: File) -> File:
            new = File(old.durable.copy())
            new.volatile, new.unsynced = old.volatile.copy(), list(old.unsynced)
            return new

        return self._with(_Copier(file, None))

    def _with(self, copier: _Copier) -> SimulatedDisk:
        root = copier.copy(self.root)
        assert isinstance(root, Folder)
        other = SimulatedDisk(root, self.capacity)
        other._effects = self._effects
        return other

    def kill(self) -> None:
        """End the process: descriptors and locks are gone, what it wrote is there and as durable as it was."""
        self.trace.append(Call("kill", ()))
        self._open.clear()
        self._locks.clear()
        for _, node in self._nodes():
            if isinstance(node, File):
                node.failed = False

    def fingerprint(self) -> int:
        """Equal for disks with the same names and the same bytes, durable ones and others."""
        return hash(
            frozenset(
                (path, node.volatile.fingerprint(), node.durable.fingerprint() if node.unsynced else 0)
                if isinstance(node, File)
                else (path, tuple((effect.number, effect.names[0][0]) for effect in node.unsynced), 0)
                for path, node in self._nodes()
            )
        )

    def effects(self) -> list[int]:
        """The numbers of what would need a sync to survive."""
        return sorted({effect.number for _, node in self._nodes() for effect in node.unsynced})

    def contents(self) -> dict[str, bytes]:
        """The files as a process sees them."""
        return {
            path: node.volatile.read(0, node.volatile.size) for path, node in self._nodes() if isinstance(node, File)
        }

    def again(self, call: Call) -> None:
        """Make a call of another disk's trace on this one. What was not there then is not there now."""
        with contextlib.suppress(FileNotFoundError):
            getattr(self, call.name)(*call.arguments)

    # -- System

    def mkdir(self, path: Path) -> None:
        self._begin("mkdir", path)
        folder, name = self._folder(path.parent), path.name
        if name in folder.volatile:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        self._change(folder, (name, Folder()))

    def listdir(self, path: Path) -> list[str]:
        self._begin("listdir", path, changes=False)
        return list(self._folder(path).volatile)

    def exists(self, path: Path) -> bool:
        return self._find(path) is not None

    def open(self, path: Path, flags: int) -> int:
        self._begin("create" if flags & os.O_CREAT else "open", path, flags)
        node = self._find(path)
        if node is None:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
            node = File()
            self._change(self._folder(path.parent), (path.name, node))
        elif flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        if flags & os.O_TRUNC and isinstance(node, File) and node.volatile.size:
            self._resize(node, 0)
        self._next_descriptor += 1
        self._open[self._next_descriptor] = Open(node, path)
        return self._next_descriptor

    def close(self, descriptor: int) -> None:
        path = self._open.pop(descriptor).path  # also when it fails
        self._locks.pop(descriptor, None)
        self._begin("close", path, descriptor)

    def pwritev(self, descriptor: int, buffers: Sequence[bytes | memoryview], position: int) -> int:
        node, path = self._file(descriptor)
        self._not_again(node, path, "written")
        data = b"".join(buffers)
        with self._marks_failure(node):
            self._begin("pwritev", path, descriptor, (data,), position)
            if self.short_writes:
                data = data[: (len(data) + 1) // 2]
            if (room := self._room(node, position + len(data))) < 0:
                data = data[:room]
                if not data:
                    raise OSError(errno.ENOSPC, "no space", str(path))
        self._effects += 1
        node.unsynced.append(Written(self._effects, position, data))
        node.volatile.write(position, data)
        return len(data)

    def pread(self, descriptor: int, size: int, position: int) -> bytes:
        node, path = self._file(descriptor)
        self._begin("pread", path, changes=False)
        return node.volatile.read(position, size)

    def size(self, descriptor: int) -> int:
        return self._file(descriptor)[0].volatile.size

    def allocate(self, descriptor: int, size: int) -> None:
        node, path = self._file(descriptor)
        self._begin("allocate", path, descriptor, size)
        if self._room(node, size) < 0:
            raise OSError(errno.ENOSPC, "no space", str(path))
        self._resize(node, max(size, node.volatile.size))

    def truncate(self, descriptor: int, size: int) -> None:
        node, path = self._file(descriptor)
        self._begin("truncate", path, descriptor, size)
        self._resize(node, size)

    def fdatasync(self, descriptor: int) -> None:
        self._sync(descriptor, "fdatasync")

    def fsync(self, descriptor: int) -> None:
        node, path = self._open[descriptor]
        if isinstance(node, File):
            self._sync(descriptor, "fsync")
        else:
            self._begin("fsync", path, descriptor)
            node.sync()

    def forget_cached(self, descriptor: int) -> None:
        """What nobody will write any more comes from the device again."""
        node, _ = self._file(descriptor)
        node.volatile = node.settle(EVERYTHING)

    def flock(self, descriptor: int) -> None:
        node, path = self._file(descriptor)
        self._begin("flock", path, descriptor)
        if id(node) in self._locks.values():
            raise BlockingIOError(errno.EWOULDBLOCK, "locked", str(path))
        self._locks[descriptor] = id(node)

    def rename(self, old: Path, new: Path) -> None:
        self._begin("rename", old, new)
        node = self._find(old)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(old))
        assert old.parent == new.parent, "a rename between folders is not modelled"
        self._change(self._folder(old.parent), (old.name, None), (new.name, node))

    def unlink(self, path: Path) -> None:
        self._begin("unlink", path)
        if self._find(path) is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        self._change(self._folder(path.parent), (path.name, None))

    def free_bytes(self, path: Path) -> int:
        self._begin("free_bytes", path, changes=False)
        return self._free() if self.capacity is not None else 1 << 40

    # -- inside

    def _begin(self, name: str, path: Path, *more: object, changes: bool = True) -> None:
        if self.cut_after is not None and self.calls >= self.cut_after:
            raise PowerCut
        self.calls += 1
        if self.fault is not None and (number := self.fault(name, str(path))) is not None:
            self.failed_calls += 1
            raise OSError(number, os.strerror(number), str(path))
        if changes:
            on_descriptor = more and isinstance(more[0], int) and name not in ("open", "create")
            name = "open" if name == "create" else name
            self.trace.append(Call(name, more if on_descriptor else (path, *more)))

    def _change(self, folder: Folder, *names: tuple[str, Node | None]) -> None:
        self._effects += 1
        folder.change(*names, number=self._effects)

    def _resize(self, node: File, size: int) -> None:
        self._effects += 1
        node.unsynced.append(Resized(self._effects, size))
        node.volatile.resize(size)

    def _sync(self, descriptor: int, name: str) -> None:
        node, path = self._file(descriptor)
        self._not_again(node, path, "synced")
        try:
            with self._marks_failure(node):
                self._begin(name, path, descriptor)
        except OSError:
            dice = self._random
            node.fail(random_survival(dice.getrandbits(32)), lambda: dice.choice(list(Leftover)))
            raise
        node.durable = node.settle(EVERYTHING)
        node.unsynced.clear()

    def _not_again(self, node: File, path: Path, what: str) -> None:
        if node.failed:
            self.violations.append(f"{path.name} was {what} again after it had failed")

    def _marks_failure(self, node: File) -> _MarksFailure:
        return _MarksFailure(node)

    def _file(self, descriptor: int) -> tuple[File, Path]:
        node, path = self._open[descriptor]
        if not isinstance(node, File):
            raise IsADirectoryError(errno.EISDIR, "a folder", str(path))
        return node, path

    def _find(self, path: Path) -> Node | None:
        node: Node | None = self.root
        for part in path.parts[1:]:
            if not isinstance(node, Folder):
                raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(path))
            node = node.volatile.get(part)
            if node is None:
                return None
        return node

    def _folder(self, path: Path) -> Folder:
        node = self._find(path)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such folder", str(path))
        if not isinstance(node, Folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(path))
        return node

    def _nodes(self) -> Iterator[tuple[str, Node]]:
        waiting: list[tuple[str, Node]] = [("", self.root)]
        while waiting:
            path, node = waiting.pop()
            yield path, node
            if isinstance(node, Folder):
                waiting += [(f"{path}/{name}", inner) for name, inner in node.volatile.items()]

    def _free(self) -> int:
        assert self.capacity is not None
        nodes = {id(node): node for _, node in self._nodes()} | {id(o.node): o.node for o in self._open.values()}
        return self.capacity - sum(node.volatile.size for node in nodes.values() if isinstance(node, File))

    def _room(self, node: File, end: int) -> int:
        """What would be free with the file grown to ``end``: below zero, so many bytes are missing."""
        grown = max(0, end - node.volatile.size)
        return self._free() - grown if grown and self.capacity is not None else 0


class _MarksFailure:
    def __init__(self, node: File) -> None:
        self._node = node

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, OSError):
            self._node.failed = True


_ZERO = bytes(SECTOR)


def is_long_and_zero(data: bytes) -> bool:
    return len(data) > 64 * SECTOR and data == bytes(len(data))


def pieces(position: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """A write, cut where sectors begin. A file's filling with zeros stays in one piece."""
    if is_long_and_zero(data):
        yield position, data
        return
    at = 0
    while at < len(data):
        end = at + SECTOR - (position + at) % SECTOR
        yield position + at, data[at:end]
        at = end


def _apply(entries: dict[str, Node], effect: Named) -> None:
    for name, node in effect.names:
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


# -- survivals


def EVERYTHING(_effect: int, _piece: int, length: int) -> int:  # noqa: N802 - one of a few named values
    return length


def NOTHING(_effect: int, _piece: int, _length: int) -> int:  # noqa: N802 - as above
    return 0


def until(last: int) -> Survival:
    """Everything in the order in which it was done, up to this effect."""
    return lambda effect, _, length: length if effect <= last else 0


def without(lost: int) -> Survival:
    return lambda effect, _, length: 0 if effect == lost else length


def only(kept: int) -> Survival:
    return lambda effect, _, length: length if effect == kept else 0


def random_survival(seed: int) -> Survival:
    """Each piece for itself, some torn in the midst; the same for the same seed, in whatever order it is asked."""
    share = random.Random(seed).choice([0.1, 0.5, 0.9])

    def survives(effect: int, piece: int, length: int) -> int:
        dice = random.Random((seed << 40) ^ (effect << 16) ^ (piece + 1))
        if dice.random() >= share:
            return 0
        return dice.randrange(length) if length > 1 and dice.random() < 0.1 else length

    return survives
