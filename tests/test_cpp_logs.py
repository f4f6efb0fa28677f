"""Building an index says nothing of its own on stderr, and errors are still heard."""

from serving.cpp_logs import only_errors
from tests.commands import run_python

BUILD = """
import numpy as np, tensorflow as tf
from serving.index import ScannSearcher
vectors = np.random.default_rng(0).normal(size=(2_000, 16)).astype(np.float32)
searcher = ScannSearcher(vectors, num_leaves=20)
if {fails}:
    tf.raw_ops.Assert(condition=False, data=["the operation failed"])
"""


def said(fails: bool) -> str:
    done = run_python("-c", BUILD.format(fails=fails))
    assert (done.returncode != 0) == fails
    return done.stderr


def test_scann_builds_without_a_word_and_errors_are_heard() -> None:
    assert said(fails=False) == ""
    assert "the operation failed" in said(fails=True)


def test_the_function_is_where_this_release_has_it() -> None:
    assert only_errors()
