"""Faults of disks: a bit that flips, a disk that is full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def flip_a_bit(file: Path, at: int | None = None) -> None:
    """Flips a bit of the byte at a place, from the end if it is negative; None: in the middle."""
    body = bytearray(file.read_bytes())
    body[len(body) // 2 if at is None else at] ^= 0x10
    file.write_bytes(body)


@contextmanager
def file_system(folder: Path, size: str) -> Iterator[Path]:
    """One as small as `4m`; the test is skipped where none can be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs takes root")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)
