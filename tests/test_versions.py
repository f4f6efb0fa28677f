"""The watcher with versions that are names in a log: no TensorFlow, every step in sight."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from configs.errors import UserError
from serving.version_dirs import find_versions
from serving.versions import LoadError, NotServingError, VersionState, VersionStatus, VersionWatcher
from tests.waiting import wait_until

POLL_INTERVAL_S = 0.01


class FakeServable:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self._log = log

    def close(self) -> None:
        self._log.append(f"close {self.name}")


class FakeLoader:
    """Loads a directory whose saved_model.pb says 'ok'; what else it says is the error."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.history: list[tuple[int, VersionState]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, directory: Path) -> FakeServable:
        self.log.append(f"load {directory.name}")
        assert self.gate.wait(timeout=10)
        text = (directory / "saved_model.pb").read_text()
        if text.startswith("ok"):
            return FakeServable(directory.name, self.log)
        if text == "coded":
            raise LoadError(3, "coded")
        raise ValueError(text)


def publish(base_path: Path, name: str, content: str = "ok") -> None:
    """Makes a version appear at once, as publishing by rename does."""
    staging = base_path / f".{name}"
    (staging / "variables").mkdir(parents=True)
    (staging / "saved_model.pb").write_text(content)
    staging.rename(base_path / name)


def withdraw(base_path: Path, name: str) -> None:
    """Makes a version disappear at once."""
    (base_path / name).rename(base_path / f".gone-{name}-{time.monotonic_ns()}")


@contextmanager
def watching(
    base_path: Path, loader: FakeLoader, *, only: int | None = None
) -> Iterator[VersionWatcher[FakeServable]]:
    def on_status(version: int, status: VersionStatus) -> None:
        loader.history.append((version, status.state))
        if status.state is VersionState.AVAILABLE:
            loader.log.append(f"serve {version}")

    watcher = VersionWatcher(
        base_path,
        load=loader,
        poll_interval_s=POLL_INTERVAL_S,
        only=only,
        on_status=on_status,
    )
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop()


def states(watcher: VersionWatcher[FakeServable]) -> dict[int, VersionState]:
    return {version: status.state for version, status in watcher.statuses().items()}


def let_it_poll() -> None:
    """Long enough for several looks at the directory."""
    time.sleep(10 * POLL_INTERVAL_S)


def test_only_complete_directories_with_integer_names_are_versions(tmp_path: Path) -> None:
    for name in ("3", "007", "0", "x", "v4", "-5", "1.5", ".8", "٣", "²", str(2**63), "20"):
        publish(tmp_path, name)
    (tmp_path / "30" / "variables").mkdir(parents=True)
    (tmp_path / "31").mkdir()
    (tmp_path / "31" / "saved_model.pb").write_text("ok")
    (tmp_path / "32").write_text("a file")
    (tmp_path / "33").symlink_to(tmp_path / "x")
    versions = find_versions(tmp_path)
    assert list(versions) == [33, 20, 7, 3, 0]
    assert versions[7] == tmp_path / "007"
    assert find_versions(tmp_path / "missing") == {}


def test_newest_version_serves(tmp_path: Path) -> None:
    for name in ("9", "10", "002"):
        publish(tmp_path, name)
    loader = FakeLoader()
    with watching(tmp_path, loader) as watcher:
        assert watcher.serving_version == 10
        with watcher.lease(None) as (version, servable):
            assert (version, servable.name) == (10, "10")
        with watcher.lease(10) as (version, _):
            assert version == 10
        for other in (9, 2, 99, 0, -1):
            with pytest.raises(NotServingError), watcher.lease(other):
                pass
    assert loader.log == ["load 10", "serve 10", "close 10"]
    with pytest.raises(NotServingError):
        _ = watcher.serving_version


def test_a_version_goes_through_every_state_in_order(tmp_path: Path) -> None:
    publish(tmp_path, "1")
    loader = FakeLoader()
    with watching(tmp_path, loader) as watcher:
        publish(tmp_path, "2")
        wait_until(lambda: states(watcher).get(1) is VersionState.END)
        publish(tmp_path, "3", "bad")
        wait_until(lambda: (3, VersionState.END) in loader.history)
    begin = [VersionState.START, VersionState.LOADING]
    whole = [*begin, VersionState.AVAILABLE, VersionState.UNLOADING, VersionState.END]
    histories = {
        version: [state for each, state in loader.history if each == version]
        for version in (1, 2, 3)
    }
    assert histories == {1: whole, 2: whole[:3], 3: [*begin, VersionState.END]}
    # The old one unloads only once the new one answers.
    available = loader.history.index((2, VersionState.AVAILABLE))
    assert loader.history.index((1, VersionState.UNLOADING)) > available


def test_a_pinned_version_stays_whatever_comes_and_goes(tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        publish(tmp_path, name)
    loader = FakeLoader()
    with watching(tmp_path, loader, only=2) as watcher:
        publish(tmp_path, "4")
        let_it_poll()
        withdraw(tmp_path, "2")
        let_it_poll()
        assert watcher.serving_version == 2
        assert list(watcher.statuses()) == [2]
    assert loader.log == ["load 2", "serve 2", "close 2"]
    with (
        pytest.raises(UserError, match="^--version=2: found versions 4, 3, 1 in "),
        watching(tmp_path, FakeLoader(), only=2),
    ):
        pass


def test_old_version_answers_while_the_new_one_loads(tmp_path: Path) -> None:
    publish(tmp_path, "1")
    loader = FakeLoader()
    with watching(tmp_path, loader) as watcher:
        loader.gate.clear()
        publish(tmp_path, "2")
        wait_until(lambda: "load 2" in loader.log)
        assert states(watcher) == {2: VersionState.LOADING, 1: VersionState.AVAILABLE}
        with watcher.lease(None) as (version, _):
            assert version == 1
        loader.gate.set()
        wait_until(lambda: "close 1" in loader.log)
        wait_until(lambda: states(watcher)[1] is VersionState.END)
        assert states(watcher) == {2: VersionState.AVAILABLE, 1: VersionState.END}
        with pytest.raises(NotServingError), watcher.lease(1):
            pass
    assert loader.log == ["load 1", "serve 1", "load 2", "serve 2", "close 1", "close 2"]


def test_a_version_in_use_is_not_closed(tmp_path: Path) -> None:
    publish(tmp_path, "1")
    loader = FakeLoader()
    with watching(tmp_path, loader) as watcher:
        with watcher.lease(None) as (_, servable), watcher.lease(1):
            publish(tmp_path, "2")
            wait_until(lambda: watcher.serving_version == 2)
            let_it_poll()
            assert states(watcher)[1] is VersionState.UNLOADING
            assert "close 1" not in loader.log
            with watcher.lease(None) as (version, _):
                assert version == 2
            assert servable.name == "1"
        wait_until(lambda: "close 1" in loader.log)
    assert loader.log.count("close 1") == 1


def test_newest_removed_loads_the_older_before_it_drops_the_newest(tmp_path: Path) -> None:
    publish(tmp_path, "1")
    publish(tmp_path, "2")
    loader = FakeLoader()
    with watching(tmp_path, loader) as watcher:
        withdraw(tmp_path, "2")
        wait_until(lambda: "close 2" in loader.log)
        assert watcher.serving_version == 1
    assert loader.log == ["load 2", "serve 2", "load 1", "serve 1", "close 2", "close 1"]


def test_last_version_keeps_serving_when_all_are_removed(tmp_path: Path) -> None:
    base_path = tmp_path / "model"
    base_path.mkdir()
    publish(base_path, "1")
    loader = FakeLoader()
    with watching(base_path, loader) as watcher:
        withdraw(base_path, "1")
        base_path.rename(tmp_path / "elsewhere")
        let_it_poll()
        with watcher.lease(None) as (version, _):
            assert version == 1
        assert states(watcher) == {1: VersionState.AVAILABLE}
        base_path.mkdir()
        publish(base_path, "2")
        wait_until(lambda: watcher.serving_version == 2)


def test_version_put_back_before_its_first_loading_drained(tmp_path: Path) -> None:
    publish(tmp_path, "1")
    publish(tmp_path, "2")
    loader = FakeLoader()
    with watching(tmp_path, loader) as watcher:
        with watcher.lease(2):
            withdraw(tmp_path, "2")
            wait_until(lambda: watcher.serving_version == 1)
            publish(tmp_path, "2")
            wait_until(lambda: watcher.serving_version == 2)
        wait_until(lambda: "close 2" in loader.log)
        let_it_poll()
        assert states(watcher) == {2: VersionState.AVAILABLE, 1: VersionState.END}
        with watcher.lease(2) as (version, _):
            assert version == 2


def test_version_that_fails_is_reported_and_the_old_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, "1")
    loader = FakeLoader()
    with watching(tmp_path, loader) as watcher:
        publish(tmp_path, "3", "no such op")
        wait_until(lambda: 3 in watcher.statuses())
        wait_until(lambda: states(watcher)[3] is VersionState.END)
        assert watcher.statuses() == {
            3: VersionStatus(state=VersionState.END, error_code=2, error_message="no such op"),
            1: VersionStatus(state=VersionState.AVAILABLE),
        }
        assert watcher.serving_version == 1
        publish(
            tmp_path, "2"
        )  # Below the one that fails, and still newer than the one that serves.
        wait_until(lambda: watcher.serving_version == 2)
        publish(tmp_path, "4", "coded")
        wait_until(lambda: 4 in watcher.statuses())
        wait_until(lambda: states(watcher)[4] is VersionState.END)
        assert watcher.statuses()[4].error_code == 3
        let_it_poll()
        assert loader.log.count("load 3") == 1
        assert loader.log.count("load 4") == 1
    assert "version 3: no such op" in caplog.text


def test_failed_version_is_tried_again_when_its_directory_changes(tmp_path: Path) -> None:
    publish(tmp_path, "1")
    loader = FakeLoader()
    with watching(tmp_path, loader) as watcher:
        publish(tmp_path, "2", "half")
        wait_until(lambda: loader.log.count("load 2") == 1)
        (tmp_path / "2" / "saved_model.pb").write_text("ok now")
        wait_until(lambda: watcher.serving_version == 2)
        assert watcher.statuses()[2] == VersionStatus(state=VersionState.AVAILABLE)
        # Failed, removed, and another one put in its place.
        publish(tmp_path, "3", "broken")
        wait_until(lambda: loader.log.count("load 3") == 1)
        withdraw(tmp_path, "3")
        let_it_poll()
        publish(tmp_path, "3", "broken")
        wait_until(lambda: loader.log.count("load 3") == 2)


def test_start_falls_back_to_an_older_version(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, "1")
    publish(tmp_path, "2", "broken")
    with watching(tmp_path, FakeLoader()) as watcher:
        assert watcher.serving_version == 1
    assert "version 2: broken" in caplog.text


def test_start_without_a_loadable_version_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def start() -> None:
        with watching(tmp_path, FakeLoader()):
            pass

    with pytest.raises(UserError, match=f"--model_base_path: {tmp_path}: found no version"):
        start()
    publish(tmp_path, "1", "bad")
    publish(tmp_path, "2", "worse")
    with pytest.raises(UserError, match=f"{tmp_path}: version 2: worse; version 1: bad$"):
        start()
    assert caplog.text == ""
