"""Versions on disk, from hidden to visible; what is published here are mere directories."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from serving import publishing
from serving.publishing import (
    REFUSAL_REPORT,
    REPORT,
    building,
    candidate_of,
    keep_as_candidate,
    next_version,
    publish,
    read_report,
    twin_of,
    versions,
    write_report,
)


def a_candidate(
    base: Path, name: str, *, twin: bool = False, beside: int | None = None, problems: Any = ()
) -> Path:
    """What export and gate leave, less the model."""
    with building(base) as place, building(twin_of(base)) as its_twin:
        for each in (place, its_twin) if twin else (place,):
            (each / "assets.extra").mkdir()
            report = {"beside": beside, "gate": {"problems": list(problems), "forced": False}}
            write_report(each, report)
        if not twin:
            its_twin.rmdir()
        return keep_as_candidate(place, name)


def test_what_is_built_is_hidden_and_gone_if_it_fails(tmp_path: Path) -> None:
    base = tmp_path / "model"
    with pytest.raises(RuntimeError), building(base) as place:
        (place / "half").write_text("written")
        assert versions(base) == []
        raise RuntimeError
    assert not base.exists()
    base.mkdir()
    with pytest.raises(RuntimeError), building(base):
        raise RuntimeError
    assert list(base.iterdir()) == []


def test_versions_are_directories_named_by_integers(tmp_path: Path) -> None:
    assert versions(tmp_path / "none") == [] and next_version(tmp_path) == 1
    # The last two are beyond int64, and a digit that is no number: no server sees them.
    for name in ("notes", "0009", "7", ".candidate-8", "9" * 19, "\u00b2"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").write_text("a file")
    assert versions(tmp_path) == [7, 9] and next_version(tmp_path) == 10


def test_killed_while_building_nothing_is_visible_and_the_next_build_sweeps(
    tmp_path: Path,
) -> None:
    code = (
        "import os, signal; from pathlib import Path; from serving.publishing import building\n"
        f"with building(Path({str(tmp_path)!r})) as place:\n"
        "    (place / 'half').write_text('written')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert versions(tmp_path) == [] and len(list(tmp_path.iterdir())) == 1
    # In a new container, the next process may even have the number of the one that was killed.
    (tmp_path / f".building-{os.getpid()}").mkdir()
    with building(tmp_path) as place:
        assert list(tmp_path.iterdir()) == [place]


def test_a_candidate_and_its_twin_become_the_same_version(tmp_path: Path) -> None:
    base = tmp_path / "model"
    (twin_of(base) / "4").mkdir(parents=True)
    candidate = a_candidate(base, "monday", twin=True)
    assert candidate == candidate_of(base, "monday") and versions(base) == []
    report = publish(candidate)
    assert versions(base) == [5] and versions(twin_of(base)) == [4, 5]
    assert report["version"] == 5 and read_report(twin_of(base) / "5") == report
    # Again, as after a kill that came before the caller had noted the end.
    assert publish(candidate) == report and versions(base) == [5]
    with pytest.raises(UserError, match="--candidate=.*tuesday: found nothing"):
        publish(candidate_of(base, "tuesday"))


def test_killed_between_two_renames_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "model"
    candidate = a_candidate(base, "monday", twin=True)
    rename = os.rename

    def killed_at_the_second(source: Path, target: Path) -> None:
        if source == candidate:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publishing.os, "rename", killed_at_the_second)
        publish(candidate)
    assert versions(twin_of(base)) == [1] and versions(base) == []
    assert publish(candidate)["version"] == 1
    assert versions(base) == [1] == versions(twin_of(base))
    # Of the same name, but another build: the next version.
    assert publish(a_candidate(base, "monday", twin=True, beside=1))["version"] == 2


def test_what_the_gate_has_not_passed_is_published_by_force_alone(tmp_path: Path) -> None:
    candidate = a_candidate(tmp_path, "a", problems=["recall: low"])
    with pytest.raises(UserError, match="the gate refused it: recall: low"):
        publish(candidate)
    assert versions(tmp_path) == []
    assert publish(candidate, force=True)["gate"]["forced"]
    assert read_report(tmp_path / "1")["gate"] == {"problems": ["recall: low"], "forced": True}

    unseen = a_candidate(tmp_path, "b", beside=1)
    write_report(unseen, {"beside": 1})
    with pytest.raises(UserError, match="the gate has not seen it"):
        publish(unseen, force=True)


def test_another_version_went_live_since(tmp_path: Path) -> None:
    """The candidate would bring back what that version removed."""
    candidate = a_candidate(tmp_path, "a", beside=None)
    (tmp_path / "1").mkdir()
    with pytest.raises(UserError, match="found version 1 live, expected no version, as when"):
        publish(candidate)
    (aside,) = tmp_path.glob(".refused-*")
    assert versions(tmp_path) == [1] and not candidate.exists()
    assert json.loads((aside / REFUSAL_REPORT).read_text())["beside"] is None


def test_a_version_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "3" / "assets.extra").mkdir(parents=True)
    (tmp_path / "3" / REPORT).write_text("{}")
    candidate = a_candidate(tmp_path, "a", beside=3)
    with pytest.raises(
        UserError, match="--version=3: expected one of 4 to 9223372036854775807: in"
    ):
        publish(candidate, version=3)
    (tmp_path / "5").write_text("a file")
    with pytest.raises(UserError, match="--version=5: found .*/5, expected nothing there"):
        publish(candidate, version=5)
    with pytest.raises(UserError, match="found a version that is visible"):
        publish(tmp_path / "3")
    assert candidate.is_dir() and versions(tmp_path) == [3]


@pytest.mark.parametrize("version", [-5, 0, 6, 7, 2**63])
def test_a_version_that_would_not_go_live_is_refused(version: int, tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    candidate = a_candidate(tmp_path, "a", beside=7)
    with pytest.raises(UserError, match=f"--version={version}: expected one of 8 to .* is 7$"):
        publish(candidate, version=version)
    assert candidate.is_dir() and versions(tmp_path) == [7]


def test_the_first_version_may_be_0_and_the_next_leave_numbers_out(tmp_path: Path) -> None:
    assert publish(a_candidate(tmp_path, "a"), version=0)["version"] == 0
    assert publish(a_candidate(tmp_path, "b", beside=0), version=2**63 - 1)["version"] == 2**63 - 1
    with pytest.raises(UserError, match=f"--version={2**63}: expected one of"):
        publish(a_candidate(tmp_path, "c", beside=2**63 - 1))


def test_what_is_not_ours_beside_the_versions_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".building-foo").mkdir()
    with building(tmp_path) as place:
        assert place.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [".building-foo"]


def test_where_nothing_can_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for base in (Path("/proc/q"), tmp_path / "file", tmp_path / "file" / "below"):
        with (
            pytest.raises(UserError, match=f"{base}: no version can be written there: "),
            building(base),
        ):
            pass


@pytest.mark.parametrize("gate", [5, {}, {"problems": 5}, "passed"])
def test_a_report_that_serving_gate_did_not_write_is_one_line(gate: Any, tmp_path: Path) -> None:
    candidate = a_candidate(tmp_path, "a")
    write_report(candidate, {"beside": None, "gate": gate})
    with pytest.raises(
        UserError, match=r"export\.json: gate: found .*, expected what serving\.gate"
    ):
        publish(candidate)
    assert versions(tmp_path) == []


def test_names_of_candidates_stay_below_the_base(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--candidate: found '\.\./x', expected letters"):
        candidate_of(tmp_path, "../x")
