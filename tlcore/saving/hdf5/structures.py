"""Heaps and B-trees of HDF5: where names, texts and small objects lie.

Numbers in comments are sections of the HDF5 File Format Specification, version 3.
"""

from __future__ import annotations

from collections.abc import Iterator

from tlcore.saving.hdf5.source import UNDEFINED, Cursor, Damage, Source

_MAX_DEPTH = 32  # of B-trees and indirect blocks


def old_tree(source: Source, root: int, kind: int, key: int) -> Iterator[tuple[bytes, int]]:
    """(key, address) of every leaf of a version 1 B-tree (III.A.1), keys `key` bytes wide."""

    def walk(at: int, level: int | None) -> Iterator[tuple[bytes, int]]:
        head = source.signed(at, 24, b"TREE")
        found, here, count = head.numbers("BBH")
        if found != kind or here != (here if level is None else level) or here > _MAX_DEPTH:
            raise Damage(f"the B-tree at {at} is not what it should be")
        entries = source.cursor(at + 24, count * (key + 8))
        for _ in range(count):
            name, address = entries.take(key), entries.number(8)
            if here:
                yield from walk(address, here - 1)
            else:
                yield name, address

    return walk(root, None)


def new_tree(source: Source, root: int, kinds: tuple[int, ...]) -> Iterator[tuple[int, Cursor]]:
    """(kind, record) of a version 2 B-tree (III.A.2)."""
    head = source.summed(root, 38, b"BTHD")
    head.version(0)
    kind, node, record, depth, _, _, top, count, total = head.numbers("BIHHBBQHQ")
    if kind not in kinds or depth > _MAX_DEPTH or not 0 < record < node:
        raise Damage(f"the B-tree at {root} is not what it should be")
    if top == UNDEFINED or not total:
        return
    # How wide the counts in pointers to nodes of each depth are.
    most = [(node - 10) // record]
    every, widths = most[0], [0]
    own = _width(most[0])
    for _ in range(depth):
        pointer = 8 + own + widths[-1]
        most.append((node - 10 - pointer) // (record + pointer))
        every = (most[-1] + 1) * every + most[-1]
        widths.append(_width(every))
    if min(most) < 1:
        raise Damage(f"the B-tree at {root} is not what it should be")

    def walk(at: int, count: int, level: int) -> Iterator[tuple[int, Cursor]]:
        if count > most[level]:
            raise Damage(f"the B-tree node at {at} has {count} records")
        wide = 8 + own + widths[level - 1] if level else 0
        size = 10 + count * record + (count + 1) * wide * bool(level)
        body = source.summed(at, size, b"BTIN" if level else b"BTLF")
        body.version(0)
        if body.number(1) != kind:
            raise Damage(f"the B-tree node at {at} is of another tree")
        records = [body.take(record) for _ in range(count)]
        for i in range((count + 1) * bool(level)):
            address, inside = body.number(8), body.number(own)
            body.take(widths[level - 1])
            yield from walk(address, inside, level - 1)
            if i < count:
                yield kind, Cursor(records[i])
        if not level:
            yield from ((kind, Cursor(data)) for data in records)

    yield from walk(top, count, depth)


def _width(number: int) -> int:
    """Bytes that HDF5 takes for numbers up to `number`."""
    return (number.bit_length() - 1) // 8 + 1 if number > 0 else 1


class LocalHeap:
    """Names of an old group (III.D)."""

    def __init__(self, source: Source, at: int) -> None:
        head = source.signed(at, 32, b"HEAP")
        head.version(0)
        head.take(3)
        size, _, data = head.numbers("QQQ")
        self._data = source.read(data, size)

    def name(self, offset: int) -> bytes:
        """The name at `offset`."""
        end = self._data.find(b"\0", offset)
        if offset >= len(self._data) or end < 0:
            raise Damage("a name lies outside its heap")
        return self._data[offset:end]


class GlobalHeaps:
    """Texts of variable length (III.E)."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._found: dict[int, dict[int, tuple[int, int]]] = {}

    def text(self, at: int, index: int, size: int) -> bytes:
        """`size` bytes of object `index` of the collection at `at`."""
        if at in (0, UNDEFINED) or not size:
            return b""
        place, length = self._collection(at).get(index, (0, -1))
        if size > length:
            raise Damage("a text lies outside its heap")
        return self._source.stored(place, size)

    def _collection(self, at: int) -> dict[int, tuple[int, int]]:
        found = self._found.get(at)
        if found is not None:
            return found
        head = self._source.signed(at, 16, b"GCOL")
        head.version(1)
        head.take(3)
        end = at + head.number(8)
        if end > self._source.size:
            raise Damage("a heap of texts ends behind the file")
        found = {}
        place = at + 16
        while place + 16 <= end:
            index, size = self._source.cursor(place, 16).numbers("H6xQ")
            if not index:  # the free space
                break
            if place + 16 + size > end:
                raise Damage("a text ends behind its heap")
            found[index] = (place + 16, size)
            place += 16 + (size + 7) // 8 * 8
        self._found[at] = found
        return found


class FractalHeap:
    """Links and attributes of objects that have many (III.G)."""

    def __init__(self, source: Source, at: int) -> None:
        self._source = source
        # A heap with filters has a longer header, and libhdf5 writes none for links.
        head = source.summed(at, 146, b"FRHP")
        head.version(0)
        self._id, filters, _, self._largest = head.numbers("HHBI")
        _, self._huge = head.numbers("QQ")
        head.take(10 * 8)
        self._across, self._first, self._direct, self._bits = head.numbers("HQQH")
        _, self._root, self._rows = head.numbers("HQH")
        first, direct = self._first, self._direct
        if filters or not self._across or self._bits > 64 or self._rows > 64:
            raise Damage(f"the heap at {at} is not what it should be")
        if not 0 < first <= direct < 1 << 32 or first & (first - 1) or direct & (direct - 1):
            raise Damage(f"the heap at {at} is not what it should be")
        self._huge_objects: dict[int, tuple[int, int]] | None = None

    def object(self, key: bytes) -> bytes:
        """The object that a record of a B-tree names by `key`."""
        cursor = Cursor(key)
        first = cursor.number(1)
        kind = first >> 4 & 3
        if first >> 6 or len(key) != self._id:
            raise Damage("a heap's key is not what it should be")
        if kind == 2:  # in the key itself
            size = (first & 15) + 1
            if self._id > 18:
                size = ((first & 15) << 8 | cursor.number(1)) + 1
            return cursor.take(size)
        if kind == 1:
            return self._huge_object(cursor)
        if kind == 3:
            raise Damage("a heap's key is not what it should be")
        offset = cursor.number((self._bits + 7) // 8)
        width = min((self._direct.bit_length() + 6) // 8, _width(self._largest))
        size = cursor.number(width)
        return self._source.read(self._place(offset, size), size)

    def _huge_object(self, cursor: Cursor) -> bytes:
        if self._id >= 17:
            at, size = cursor.numbers("QQ")
            return self._source.stored(at, size)
        if self._huge_objects is None:
            self._huge_objects = {}
            for _, record in new_tree(self._source, self._huge, (1,)):
                at, size, number = record.numbers("QQQ")
                self._huge_objects[number] = (at, size)
        number = cursor.number(cursor.left)
        if number not in self._huge_objects:
            raise Damage("an object lies outside its heap")
        return self._source.stored(*self._huge_objects[number])

    def _place(self, offset: int, size: int) -> int:
        """Where in the file the managed object at `offset` of the heap lies."""
        at, rows, start = self._root, self._rows, 0
        for _ in range(_MAX_DEPTH):
            if not rows:
                block = self._first
                break
            row, column, begin, block = self._cell(offset - start)
            if row >= rows:
                raise Damage("an object lies outside its heap")
            at = self._child(at, rows, row * self._across + column)
            start += begin
            if block <= self._direct:
                break
            rows = (block // (self._first * self._across)).bit_length()
        else:
            raise Damage("a heap leads in circles")
        if offset + size > start + block:
            raise Damage("an object lies outside its heap")
        self._source.signed(at, 4, b"FHDB")
        return at + offset - start

    def _cell(self, offset: int) -> tuple[int, int, int, int]:
        """(row, column, offset of the block, size of the block) in a doubling table."""
        rest, block = offset, self._first
        for row in range(64):
            if rest < block * self._across:
                column = rest // block
                return row, column, offset - rest + column * block, block
            rest -= block * self._across
            block *= 2 if row else 1
        raise Damage("an object lies outside its heap")

    def _child(self, at: int, rows: int, number: int) -> int:
        """Address of block `number` of an indirect block."""
        size = 4 + 1 + 8 + (self._bits + 7) // 8 + 8 * rows * self._across + 4
        block = self._source.summed(at, size, b"FHIB")
        block.version(0)
        block.take(8 + (self._bits + 7) // 8 + 8 * number)
        return block.number(8)
