"""The config of the dataset that a version was made of, kept with the version."""

import json
from pathlib import Path

from configs.errors import UserError
from configs.files import write_json
from preprocessing.features import FeatureSpec
from preprocessing.manifest import Manifest
from serving.requests import spec_of_config

_FILE = Path("assets.extra", "dataset_config.json")


def write_dataset_config(version_dir: Path, manifest: Manifest) -> None:
    """Writes the config that a dataset was made with to a version made of it."""
    write_json(version_dir / _FILE, manifest.config)


def read_spec(version_dir: Path) -> FeatureSpec:
    """The features of a version, from which raw columns they are read and within which bounds.

    Raises:
        UserError: the version does not say.
    """
    path = version_dir / _FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{version_dir}: found no {_FILE}, which an earlier release did not write; expected a "
            "version by serving.export of this one"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: found no JSON: {error}") from None
    return spec_of_config(config)
