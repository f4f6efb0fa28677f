"""The lines of a file, plain or gzip, in chunks of bounded size. No Beam: any open file will do."""

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from configs.errors import UserError

_CHUNK_ROWS = 1 << 18
_CHUNK_BYTES = 1 << 27
_BLOCK_BYTES = 1 << 24


def is_gzip(path: str) -> bool:
    """Whether a file of this name is read as gzip."""
    return path.endswith(".gz")


def chunks_of(blocks: Iterator[bytes], max_line_bytes: int) -> Iterator[tuple[int, list[bytes]]]:
    r"""Chunks of lines: the number of the first, from 1, and the lines without their ends.

    Only `\n` ends a line: a string of JSON may hold what else Unicode calls a line break.

    Args:
        blocks: of the file, as `blocks_of` gives them.
        max_line_bytes: of a longer line only one byte more than this is kept.
    """
    number, size = 1, 0
    rest = b""
    pending: list[bytes] = []
    for block in blocks:
        lines = (rest + block).split(b"\n")
        if max(map(len, lines)) > max_line_bytes:
            lines = [line[: max_line_bytes + 1] for line in lines]
        rest = lines.pop()
        pending += lines
        size += len(block)
        while len(pending) >= _CHUNK_ROWS or (pending and size >= _CHUNK_BYTES):
            yield number, pending[:_CHUNK_ROWS]
            number += len(pending[:_CHUNK_ROWS])
            pending, size = pending[_CHUNK_ROWS:], 0
    if rest:
        pending.append(rest)
    if pending:
        yield number, pending


def blocks_of(raw: BinaryIO, path: str, *, where: str) -> Iterator[bytes]:
    """The content of an open file, unpacked if its name says that it is gzip.

    Args:
        raw: the file.
        path: its name.
        where: how a message names it.

    Raises:
        UserError: a gzip file is cut or damaged.
    """
    if not is_gzip(path):
        while block := raw.read(_BLOCK_BYTES):
            yield block
        return
    try:
        empty = True
        # The standard library checks length and CRC at each member's end; Beam's own
        # decompression takes a file that was cut for a whole one.
        with gzip.GzipFile(fileobj=raw) as stream:
            while block := stream.read(_BLOCK_BYTES):
                empty = False
                yield block
        if empty and raw.tell() == 0:
            raise EOFError("no gzip member")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{where} is cut or damaged: {error}, expected a whole gzip file") from None
