"""What a dataset is: `manifest.json`, written last; a directory without one is no dataset.

Data files lie in a folder of their own for each run of the job, which only the manifest names; a
rerun writes another folder, replaces the manifest in one rename and then sweeps the old folder, so
that no reader ever sees files of two runs.
"""

import enum
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import write_json
from preprocessing.columns import SECONDS_PER_DAY
from preprocessing.features import FeatureSpec, differences

MANIFEST = "manifest.json"
DATASET = "--dataset"
"""The flag that most commands take a dataset by."""

FORMAT_VERSION = 1


class Verify(enum.Enum):
    """How much of a dataset is checked before it is used."""

    FULL = "full"  # every byte, against the sha256 of the manifest
    SIZE = "size"  # that each file is there at its size


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One data file.

    Attributes:
        name: path below the dataset's directory.
        part: what it is a part of: `train`, `queries/test/window`, `catalog`, `item_statistics`,
            `users`, `vocabularies`, `statistics`, `dead_letter`.
        rows: rows in it.
        size: bytes.
        sha256: of its bytes, hexadecimal.
        records: TFRecords in it; 0 for a file of another format.
    """

    name: str
    part: str
    rows: int
    size: int
    sha256: str
    records: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Times that cut the log, UTC seconds. An event at the cut belongs to the later part.

    Under leave-one-out the cuts say nothing and are all `end_time`.
    """

    start_time: int
    validation_time: int
    test_time: int
    end_time: int  # one second after the last event

    @property
    def last_day(self) -> int:
        """The UTC day of the last event, days since 1970-01-01."""
        return (self.end_time - 1) // SECONDS_PER_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a reader of the dataset must know.

    Attributes:
        kind: `positives`: one row for each positive.
        config: the resolved config of the job, as JSON.
        spec: `FeatureSpec.describe()`.
        spec_fingerprint: its hash.
        assets_fingerprint: hash of catalog ids, vocabularies, statistics and text encoders.
        splits: where train ends.
        counters: exact counts of events and rows.
        files: every data file.
        window_days: of the log, the last so many UTC days were taken; 0: all.
        previous: `assets_fingerprint` of the dataset whose ids and scales were kept; '' for none.
    """

    kind: str
    config: dict[str, Any]
    spec: dict[str, Any]
    spec_fingerprint: str
    assets_fingerprint: str
    splits: Splits
    counters: dict[str, Any]
    files: tuple[File, ...]
    window_days: int = 0
    previous: str = ""

    def part(self, part: str) -> tuple[File, ...]:
        """The files of one part, in name order."""
        return tuple(sorted((f for f in self.files if f.part == part), key=lambda f: f.name))

    def rows(self, part: str) -> int:
        """Rows of one part over its files."""
        return sum(f.rows for f in self.part(part))

    def records(self, part: str) -> int:
        """TFRecords of one part over its files."""
        return sum(f.records for f in self.part(part))


def describe_file(root: Path, name: str, *, part: str, rows: int, records: int = 0) -> File:
    """Measures a finished file below `root`."""
    digest = hashlib.sha256()
    with open(root / name, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return File(
        name=name,
        part=part,
        rows=rows,
        size=(root / name).stat().st_size,
        sha256=digest.hexdigest(),
        records=records,
    )


def assets_fingerprint(
    *,
    item_ids: list[str],
    vocabularies: Mapping[str, list[str]],
    statistics: Mapping[str, Mapping[str, float]],
    text_encoders: Mapping[str, str],
) -> str:
    """sha256 over what turns strings and counts into model inputs.

    Args:
        item_ids: video ids by catalog id, from 1.
        vocabularies: values by feature, most frequent first.
        statistics: `mean` and `std` by feature.
        text_encoders: name and hash of the encoder by text feature.
    """
    text = json.dumps([item_ids, vocabularies, statistics, text_encoders], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write(directory: Path, manifest: Manifest) -> None:
    """Writes `manifest.json` in one rename; what was there before stays until then."""
    body = {"format_version": FORMAT_VERSION, **asdict(manifest)}
    write_json(directory / MANIFEST, body)


def unfinished(directory: Path) -> list[Path]:
    """What runs that were killed while they wrote a manifest have left beside it."""
    return list(directory.glob(f".{MANIFEST}.*"))


def read(directory: str | Path, *, where: str = DATASET) -> Manifest:
    """Reads a dataset's manifest and checks that each file it names is there at its size.

    Args:
        directory: of the dataset.
        where: what names the directory, for messages: a flag.

    Raises:
        UserError: there is no manifest, it is of another format, or a file is missing or of
            another size.
    """
    root = Path(directory)
    path = root / MANIFEST
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{where}: found no {MANIFEST} in {root}, expected a directory that "
            "`python -m preprocessing.run` finished"
        ) from None
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{where}: {path} cannot be read: {error}") from None
    version = body.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise UserError(f"{path}: found format_version {version}, expected {FORMAT_VERSION}")
    files = tuple(File(**each) for each in body.pop("files"))
    manifest = Manifest(files=files, splits=Splits(**body.pop("splits")), **body)
    for file in files:
        found = (root / file.name).stat().st_size if (root / file.name).is_file() else None
        if found != file.size:
            raise UserError(
                f"{root / file.name}: found "
                + ("nothing" if found is None else f"{found} bytes")
                + f", expected {file.size} bytes as the manifest says"
            )
    return manifest


def verify_hashes(
    directory: str | Path, manifest: Manifest, *, advance: Callable[[int], None] = lambda size: None
) -> None:
    """Reads every file whole.

    Args:
        directory: of the dataset.
        manifest: its manifest.
        advance: told the bytes of each file that was read.

    Raises:
        UserError: a file's sha256 is not the manifest's.
    """
    root = Path(directory)
    for file in manifest.files:
        found = describe_file(root, file.name, part=file.part, rows=file.rows)
        if found.sha256 != file.sha256:
            raise UserError(
                f"{root / file.name}: found sha256 {found.sha256}, expected {file.sha256}"
            )
        advance(file.size)


def require_spec(manifest: Manifest, spec: FeatureSpec, *, where: str) -> None:
    """Refuses a dataset that was made for other features or rules.

    Args:
        manifest: of the dataset.
        spec: of the config at hand.
        where: the flag or file that the dataset came from, for the message.

    Raises:
        UserError: the fingerprints differ; the message names the first field that does.
    """
    if manifest.spec_fingerprint == spec.fingerprint():
        return
    found = differences(manifest.spec, json.loads(json.dumps(spec.describe())))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    raise UserError(
        f"{where}: it was made with another config, expected the --config of preprocessing: "
        f"{found[0] if found else 'fingerprints differ'}{more}"
    )
