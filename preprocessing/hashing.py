"""Hashes that are the same in every process and version, over whole columns at once."""

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

UInt64s = npt.NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, made odd


def mix(values: npt.NDArray[np.uint64] | npt.NDArray[np.int64]) -> UInt64s:
    """Spreads 64-bit numbers evenly over 64 bits.

    Source: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    x = values.astype(np.uint64) + _ODD
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash_strings(strings: pl.Series) -> UInt64s:
    """A 64-bit hash of each string; a polynomial over its bytes, then mixed."""
    array = strings.rechunk().to_arrow().cast(pa.large_binary())
    offsets = np.frombuffer(array.buffers()[1], np.int64)[
        array.offset : array.offset + len(array) + 1
    ]
    lengths = np.diff(offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.frombuffer(array.buffers()[2] or b"", np.uint8)[first:last]
    powers = np.ones(int(lengths.max(initial=0)) + 1, np.uint64)
    powers[1:] = _ODD
    powers = np.multiply.accumulate(powers)
    within = np.arange(last - first) - np.repeat(offsets[:-1] - first, lengths)
    terms = (data.astype(np.uint64) + np.uint64(1)) * powers[within]
    sums = np.zeros(last - first + 1, np.uint64)
    np.cumsum(terms, out=sums[1:])
    polynomial = sums[offsets[1:] - first] - sums[offsets[:-1] - first]
    return mix(polynomial ^ lengths.astype(np.uint64))


def combine(*hashes: npt.NDArray[np.uint64] | npt.NDArray[np.int64]) -> UInt64s:
    """One hash of several columns; their order matters."""
    out = mix(hashes[0])
    for each in hashes[1:]:
        out = mix(out ^ mix(each))
    return out
