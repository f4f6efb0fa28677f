import json
from pathlib import Path

import pytest

from configs.files import replacing, write_json, write_text


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with replacing(path) as beside:
        beside.write_text("half")
        assert json.loads(path.read_text()) == {"a": 1}
    assert path.read_text() == "half" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]
