"""Memory that was freed stays with the process: seen in a process of its own."""

import platform

import pytest

from tests.commands import said_by

PROGRAM = """
import ctypes, pathlib
from {module} import {name}
{name}()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.memset.restype = ctypes.c_void_p
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
SIZE = 200 << 20
block = libc.malloc(SIZE)
libc.memset(block, 1, SIZE)
libc.free(block)
status = pathlib.Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
"""


def resident_kib(module: str, name: str) -> int:
    """After 200 MiB were used and freed."""
    (resident,) = said_by(PROGRAM.format(module=module, name=name))
    return int(resident)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_freed_memory_stays() -> None:
    plain = resident_kib("os", "getpid")
    assert plain < 100_000
    assert resident_kib("trainer.allocator", "keep_freed_memory") > plain + 190_000
