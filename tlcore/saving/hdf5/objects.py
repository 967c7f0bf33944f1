"""Groups, attributes, data sets: the messages of an object's header (IV.A) and what they say."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import cached_property

from tlcore.saving.hdf5.source import UNDEFINED, Cursor, Damage, Readable, Source
from tlcore.saving.hdf5.structures import FractalHeap, GlobalHeaps, LocalHeap, new_tree, old_tree
from tlcore.saving.hdf5.types import Type, parsed_space, parsed_type

MAGIC = b"\x89HDF\r\n\x1a\n"

SPACE, LINKS, TYPE, OLD_FILL, FILL, LINK, EXTERNAL, LAYOUT = 1, 2, 3, 4, 5, 6, 7, 8
FILTERS, ATTRIBUTE, CONTINUATION, GROUP, ATTRIBUTES = 11, 12, 16, 17, 21

_ENTRY = struct.Struct("<QQI20x")
_SHARED = 2  # a message's flag: it lies in another object
_MAX_BLOCKS = 10_000  # of one header


class Tree:
    """An open HDF5 file: its objects by address."""

    def __init__(self, file: Readable, size: int) -> None:
        self.source = Source(file, size)
        self.texts = GlobalHeaps(self.source)
        self._objects: dict[int, Object] = {}
        self.root = self.object(self._superblock())

    def object(self, address: int) -> Object:
        """The object whose header is at `address`."""
        found = self._objects.get(address)
        if found is None:
            found = self._objects[address] = Object(self, address)
        return found

    def _superblock(self) -> int:
        """Address of the root group (II.A)."""
        size = self.source.size
        head = self.source.cursor(0, min(size, 96))
        if head.take(8) != MAGIC:
            raise Damage("it does not begin as one")
        version = head.version(0, 1, 2, 3)
        if version < 2:
            head.take(4)
            widths = head.numbers("BB")
            head.take(9 if version == 0 else 13)
            base, _, end, driver = head.numbers("QQQQ")
            head.take(8)
            root = head.number(8)
        else:
            widths = head.numbers("BB")
            head.take(1)
            base, _, end, root = head.numbers("QQQQ")
            driver = UNDEFINED
            self.source.summed(0, 48, MAGIC)
        if widths != (8, 8):  # as on every machine of today
            raise Damage("its numbers have odd sizes")
        if base or driver != UNDEFINED:
            raise Damage("it is one of several that belong together")
        if end > size:
            raise Damage(f"it should have {end} bytes and has {size}")
        return root


@dataclass(frozen=True)
class Attribute:
    """A named small value of an object."""

    tree: Tree
    type: Type
    shape: tuple[int, ...] | None
    data: bytes

    @property
    def count(self) -> int:
        """How many values it has."""
        return 0 if self.shape is None else math.prod(self.shape)

    def texts(self, limit: int) -> list[bytes] | None:
        """All values as bytes if they are texts; Damage beyond `limit` bytes together."""
        size = self.type.size
        if self.type.kind not in ("text", "long text"):
            return None
        if self.count * size > len(self.data):
            raise Damage("it is cut off")
        cursor = Cursor(self.data)
        if self.type.kind == "text":
            return [cursor.take(size).rstrip(b"\0") for _ in range(self.count)]
        found = []
        for _ in range(self.count):
            length, at, index = cursor.numbers("IQI")
            limit -= length
            if limit < 0:
                raise Damage("its texts are too long")
            found.append(self.tree.texts.text(at, index, length).rstrip(b"\0"))
        return found


class Object:
    """A group, a data set or a committed type."""

    def __init__(self, tree: Tree, address: int) -> None:
        self.tree = tree
        self.messages: list[tuple[int, int, bytes]] = []  # (type, flags, data)
        source = tree.source
        if source.read(address, 4) == b"OHDR":
            self._read_new(source, address)
        else:
            self._read_old(source, address)

    # --- headers --------------------------------------------------------------------------------

    def _read_old(self, source: Source, address: int) -> None:
        head = source.cursor(address, 16)
        head.version(1)
        head.take(7)
        blocks = [(address + 16, head.number(4))]
        for at, size in blocks:  # grows on the way
            block = source.cursor(at, size)
            while block.left >= 8:
                kind, length, flags = block.numbers("HHB3x")
                self._enter(kind, flags, block.take(length), blocks)

    def _read_new(self, source: Source, address: int) -> None:
        head = source.cursor(address + 4, min(30, source.size - address - 4))
        head.version(2)
        flags = head.number(1)
        head.take((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
        size = head.number(1 << (flags & 3))
        start = 4 + head.at
        blocks = [(address, start + size + 4)]
        for i, (at, length) in enumerate(blocks):
            block = source.summed(at, length, b"OCHK" if i else b"OHDR")
            block.at = block.at if i else start
            order = 2 if flags & 4 else 0
            while block.left >= 4 + order:
                kind, length, own = block.numbers("BHB")
                block.take(order)
                self._enter(kind, own, block.take(length), blocks)

    def _enter(self, kind: int, flags: int, data: bytes, blocks: list[tuple[int, int]]) -> None:
        if kind == CONTINUATION:
            at, size = Cursor(data).numbers("QQ")
            if (at, size) in blocks or len(blocks) > _MAX_BLOCKS:
                raise Damage("an object's header leads in circles")
            blocks.append((at, size))
        elif kind:
            self.messages.append((kind, flags, data))

    def message(self, kind: int) -> bytes | None:
        """The message of this kind, None if there is none."""
        for found, flags, data in self.messages:
            if found == kind:
                return self._shared(kind, data) if flags & _SHARED else data
        return None

    def _shared(self, kind: int, data: bytes) -> bytes:
        """A message that lies in another object (IV.A.2): a committed type."""
        cursor = Cursor(data)
        version, where = cursor.version(1, 2, 3), cursor.number(1)
        if version == 1:
            cursor.take(6)
        if kind != TYPE or (version == 3 and where != 2):
            raise Damage("it shares messages, which is not read")
        for found, flags, shared in self.tree.object(cursor.number(8)).messages:
            if found == kind and not flags & _SHARED:
                return shared
        raise Damage("a committed type is missing")

    # --- what it is -----------------------------------------------------------------------------

    @cached_property
    def is_data_set(self) -> bool:
        """Whether it holds values."""
        return any(kind == LAYOUT for kind, _, _ in self.messages)

    @cached_property
    def is_group(self) -> bool:
        """Whether it holds links."""
        kinds = {kind for kind, _, _ in self.messages}
        return not self.is_data_set and bool(kinds & {GROUP, LINKS, LINK})

    # --- links ----------------------------------------------------------------------------------

    @cached_property
    def links(self) -> dict[bytes, int | None]:
        """Address of each object in a group; None for what is a link to elsewhere."""
        found: dict[bytes, int | None] = {}

        def add(name: bytes, address: int | None) -> None:
            if name in found:
                raise Damage(f"there are two entries {name!r}")
            found[name] = address

        for kind, flags, data in self.messages:
            if kind in (GROUP, LINKS, LINK) and flags & _SHARED:
                raise Damage("it shares links")
            if kind == LINK:
                add(*_link(data))
            elif kind == LINKS:
                for _, record in self._dense(data, (5, 6), wide=8):
                    add(*_link(record))
            elif kind == GROUP:
                for name, address in self._old_links(data):
                    add(name, address)
        return found

    def _old_links(self, data: bytes) -> list[tuple[bytes, int | None]]:
        """From a symbol table (III.C)."""
        source = self.tree.source
        tree, heap = Cursor(data).numbers("QQ")
        names = LocalHeap(source, heap)
        found: list[tuple[bytes, int | None]] = []
        for _, leaf in old_tree(source, tree, 0, 8):
            head = source.signed(leaf, 8, b"SNOD")
            head.version(1)
            head.take(1)
            count = head.number(2)
            for name, address, kind in _ENTRY.iter_unpack(source.read(leaf + 8, 40 * count)):
                found.append((names.name(name), None if kind == 2 else address))
        return found

    def _dense(self, data: bytes, kinds: tuple[int, ...], wide: int) -> list[tuple[int, bytes]]:
        """(flags, object) of all that a fractal heap and its B-tree hold for this object."""
        cursor = Cursor(data)
        cursor.version(0)
        if cursor.number(1) & 1:
            cursor.take(wide)
        heap_at, tree_at = cursor.numbers("QQ")
        if heap_at == UNDEFINED:
            return []
        heap = FractalHeap(self.tree.source, heap_at)
        found = []
        for kind, record in new_tree(self.tree.source, tree_at, kinds):
            flags = 0
            if kind == 5:
                record.take(4)
                key = record.take(7)
            elif kind == 6:
                record.take(8)
                key = record.take(7)
            else:
                key, flags = record.take(8), record.number(1)
            found.append((flags, heap.object(key)))
        return found

    # --- attributes -----------------------------------------------------------------------------

    @cached_property
    def attributes(self) -> dict[bytes, bytes]:
        """The message of each attribute by its name."""
        found: dict[bytes, bytes] = {}
        for kind, flags, data in self.messages:
            held = [(flags, data)] if kind == ATTRIBUTE else []
            if kind == ATTRIBUTES:
                held = self._dense(data, (8, 9), wide=2)
            for own, message in held:
                if own & _SHARED:
                    raise Damage("it shares attributes, which is not read")
                name = _attribute_name(message)
                if name in found:
                    raise Damage(f"there are two attributes {name!r}")
                found[name] = message
        return found

    def attribute(self, name: bytes) -> Attribute | None:
        """An attribute, None if it is not there (IV.A.2.m)."""
        data = self.attributes.get(name)
        if data is None:
            return None
        cursor = Cursor(data)
        version, flags, *sizes = cursor.numbers("BBHHH")
        if version == 3:
            cursor.take(1)
        parts = []
        for size in sizes:
            parts.append(cursor.take(size))
            if version == 1:
                cursor.take(min(-size % 8, cursor.left))
        _, kind, space = parts
        if version > 1 and flags & 2:
            raise Damage("it shares shapes, which is not read")
        if version > 1 and flags & 1:
            kind = self._shared(TYPE, kind)
        return Attribute(
            self.tree, parsed_type(kind), parsed_space(space), cursor.take(cursor.left)
        )


def _attribute_name(data: bytes) -> bytes:
    cursor = Cursor(data)
    version = cursor.version(1, 2, 3)
    cursor.take(1)
    size, _, _ = cursor.numbers("HHH")
    if version == 3:
        cursor.take(1)
    return cursor.take(size).partition(b"\0")[0]


def _link(data: bytes) -> tuple[bytes, int | None]:
    """Name and address of a link message (IV.A.2.g)."""
    cursor = Cursor(data)
    cursor.version(1)
    flags = cursor.number(1)
    kind = cursor.number(1) if flags & 8 else 0
    cursor.take((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
    name = cursor.take(cursor.number(1 << (flags & 3)))
    return name, None if kind else cursor.number(8)
