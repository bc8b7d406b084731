"""``Files`` in memory: no faults, no durability, cheap to copy. For tests that open thousands of directories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class MemoryFile:
    def __init__(self, content: bytes | bytearray) -> None:
        self._content = content

    def write_at(self, position: int, buffers: Sequence[bytes]) -> None:
        assert isinstance(self._content, bytearray), "opened for reading"
        for buffer in buffers:
            self._content[len(self._content) : position] = bytes(max(0, position - len(self._content)))
            self._content[position : position + len(buffer)] = buffer
            position += len(buffer)

    def sync(self, probe: int) -> None:
        pass

    def read_at(self, position: int, size: int) -> bytes:
        return bytes(self._content[position : position + size])

    def size(self) -> int:
        return len(self._content)

    def forget_cached(self) -> None:
        pass

    def close(self) -> None:
        pass


class MemoryFiles:
    """``contents`` are shared with the caller until a file is opened for writing."""

    def __init__(self, contents: Mapping[str, bytes | bytearray] | None = None) -> None:
        self.contents: dict[str, bytes | bytearray] = dict(contents or {})

    def _writable(self, name: str) -> bytearray:
        content = self.contents[name]
        if not isinstance(content, bytearray):
            content = self.contents[name] = bytearray(content)
        return content

    def lock(self, name: str) -> None:
        self.contents[name] = b"1\n"

    def unlock(self) -> None:
        pass

    def names(self, folder: str) -> list[str]:
        return sorted(name.partition("/")[2] for name in self.contents if name.startswith(f"{folder}/"))

    def create(self, name: str, size: int) -> MemoryFile:
        if name in self.contents:
            raise FileExistsError(name)
        self.contents[name] = bytearray(size)
        return MemoryFile(self._writable(name))

    def open(self, name: str, *, writable: bool = False) -> MemoryFile:
        if name not in self.contents:
            raise FileNotFoundError(name)
        if writable:
            return MemoryFile(self._writable(name))
        return MemoryFile(self.contents[name])

    def rename(self, old: str, new: str) -> None:
        self.contents[new] = self.contents.pop(old)

    def unlink(self, names: Sequence[str]) -> None:
        for name in names:
            self.contents.pop(name, None)

    def truncate(self, name: str, size: int) -> None:
        del self._writable(name)[size:]

    def replace(self, name: str, content: bytes) -> None:
        self.contents[name] = bytes(content)

    def exists(self, name: str) -> bool:
        return name in self.contents

    def free_bytes(self) -> int:
        return 1 << 40
