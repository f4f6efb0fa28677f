"""Texts in the job: each embedded once; and a whole job with a sentence encoder for titles."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from configs.kinds import Text, TextEncoder
from configs.schema import Config
from preprocessing.features import spec_of
from preprocessing.frames import pack, unpack
from preprocessing.stages import items
from preprocessing.text import encoder_of, fingerprints
from tests.decoded import Decoded, run
from tests.raw_logs import config_of, features, raw_log, small_data, write_tables
from tests.test_text import HAS_MINILM

TITLES = ("Grilled salmon with lemon", "Engine repair, part 2", "猫の動画", "  ")


def config_with(encoder: TextEncoder) -> Config:
    return config_of(small_data(), **features() | {"title": Text(column="title", encoder=encoder)})


def test_each_distinct_text_goes_to_its_encoder_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "TEXTS_AT_ONCE", 3)
    texts = {"title": Text(column="title"), "more": Text(column="description")}
    spec = spec_of(config_of(small_data(), **features() | texts))
    videos = pl.DataFrame(
        {"title": ["b", "a", "b", None, "d", "b"], "description": ["e", "a", None, "c", "f", "g"]}
    )

    blocks = list(items.distinct_texts((pack(videos), 0), spec))

    assert {encoder for encoder, _ in blocks} == {TextEncoder.HASHING}
    assert [block for _, block in blocks] == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    encoder, packed = items.embed_texts(blocks[0])
    embedded = unpack(packed)
    assert embedded["text"].to_list() == ["a", "b", "c"]
    expected = encoder_of(encoder).encode(["a", "b", "c"])
    np.testing.assert_array_equal(np.array(embedded["vector"].to_list(), np.float32), expected)


def vectors_of(dataset: Decoded) -> dict[str, list[float]]:
    return {row["video_id"]: row["title_embedding"] for row in dataset.catalog}


@pytest.mark.slow
@pytest.mark.skipif(not HAS_MINILM, reason="the extra `text` is not installed")
def test_a_job_with_a_sentence_encoder(tmp_path: Path) -> None:
    log = raw_log(4, events=300)
    titles = {row["video_id"]: TITLES[n % len(TITLES)] for n, row in enumerate(log.videos)}
    del titles[log.videos[-1]["video_id"]]  # and so this one has none
    videos = [
        {k: v for k, v in row.items() if k != "title"}
        | ({"title": titles[row["video_id"]]} if row["video_id"] in titles else {})
        for row in log.videos
    ]
    tables = write_tables(tmp_path / "raw", log.events, videos, log.users)

    found = {
        encoder: run(config_with(encoder), tables, tmp_path / encoder.value)
        for encoder in TextEncoder
    }

    for encoder, dataset in found.items():
        stored = vectors_of(dataset)
        assert len(stored) > len(videos)  # events name some that the table does not
        texts = [titles.get(video, "") for video in stored]
        expected = encoder_of(encoder).encode(texts)
        # Padding beside other texts moves a vector of MiniLM by about 1e-4.
        np.testing.assert_allclose(np.array([*stored.values()]), expected, atol=1e-3)
        lengths = np.linalg.norm([*stored.values()], axis=1)
        has_text = np.array([bool(text.strip()) for text in texts])
        np.testing.assert_allclose(lengths, has_text, atol=1e-5)
        assert 3 < has_text.sum() < len(texts)

    by_hash, by_sentence = found[TextEncoder.HASHING], found[TextEncoder.MINILM]
    assert by_hash.manifest.spec_fingerprint != by_sentence.manifest.spec_fingerprint
    assert by_hash.manifest.assets_fingerprint != by_sentence.manifest.assets_fingerprint
    # The encoder's own name is all that the assets differ in.
    for part in ("vocabularies", "statistics"):
        (one,), (other,) = (
            [d.root / file.name for file in d.manifest.part(part)] for d in (by_hash, by_sentence)
        )
        assert one.read_bytes() == other.read_bytes()
    names = [fingerprints(dataset.spec)["title"] for dataset in (by_hash, by_sentence)]
    assert names[0].startswith("hashing-") and names[1].startswith("minilm-")
