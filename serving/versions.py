"""Which version of a model answers, and the change from one to the next.

Nothing here knows TensorFlow: what a version is loaded into is the caller's.
"""

import enum
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from absl import logging

from configs.errors import UserError
from serving.version_dirs import find_versions, fingerprint, require_version

_UNKNOWN_ERROR_CODE = 2  # google.rpc.Code.UNKNOWN, for an error that carries no code of its own.


class Servable(Protocol):
    """A loaded version."""

    def close(self) -> None:
        """Frees what the version holds; called once, when no request uses it any more."""


ServableT = TypeVar("ServableT", bound=Servable)


class LoadError(Exception):
    """A version that cannot be served, with its google.rpc.Code."""

    def __init__(self, code: int, message: str) -> None:
        """Keeps both for the version's status."""
        super().__init__(message)
        self.code = code


class NotServingError(Exception):
    """A request for a version that does not serve."""


class VersionState(enum.Enum):
    """The life of a version; the names are those of `ModelVersionStatus.State`."""

    START = enum.auto()
    LOADING = enum.auto()
    AVAILABLE = enum.auto()
    UNLOADING = enum.auto()
    END = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatus:
    """A version's state and, where it failed, the google.rpc.Code and why."""

    state: VersionState
    error_code: int = 0
    error_message: str = ""


class _Loaded(Generic[ServableT]):
    """A loaded version and how many requests are using it."""

    def __init__(self, version: int, servable: ServableT, directory: Path) -> None:
        self.version = version
        self.servable = servable
        self.directory = directory
        self.in_flight = 0


class Lease(Generic[ServableT]):
    """A version that stays loaded until `release` is called, once.

    Attributes:
        version: its number.
        servable: what it was loaded into.
    """

    __slots__ = ("_loaded", "_release", "servable", "version")

    def __init__(
        self, loaded: _Loaded[ServableT], release: Callable[[_Loaded[ServableT]], None]
    ) -> None:
        """Counts as a request that uses `loaded`."""
        self.version = loaded.version
        self.servable = loaded.servable
        self._loaded = loaded
        self._release = release

    def release(self) -> None:
        """Says that the request is done with it."""
        self._release(self._loaded)


class VersionWatcher(Generic[ServableT]):
    """Serves the newest version under a base path, following the directory.

    A newer version is loaded while the old one answers and then takes its place between two
    requests; the old one is closed when the last request that uses it is done. When the serving
    version's directory disappears, the next older one takes its place in the same way; when
    no version is left, the last keeps serving. A version that fails to load is not tried again
    until its directory changes. A directory that is rewritten under the number that is already
    serving is not loaded again: publish under a new number.
    """

    def __init__(
        self,
        base_path: Path,
        *,
        load: Callable[[Path], ServableT],
        poll_interval_s: float,
        only: int | None = None,
        on_status: Callable[[int, VersionStatus], None],
    ) -> None:
        """Watches nothing yet.

        Args:
            base_path: the directory of version directories.
            load: makes a version directory servable, warmed up; what it raises is the version's
                error, a `LoadError` with its code.
            poll_interval_s: seconds between looks at `base_path`.
            only: the version to stay on, whatever else there is; None: the newest.
            on_status: called after each change with the version and what it has come to.
        """
        self._base_path = base_path
        self._load = load
        self._poll_interval_s = poll_interval_s
        self._only = only
        self._on_status = on_status
        self._lock = threading.Lock()  # Guards the four below; `_poll` alone writes `_serving`.
        self._serving: _Loaded[ServableT] | None = None
        self._retired: list[_Loaded[ServableT]] = []
        self._statuses: dict[int, VersionStatus] = {}
        self._is_stopping = False
        self._polling = (
            threading.Lock()
        )  # Held by the thread that polls: it alone loads and closes.
        # Only ever touched by that thread.
        self._refused: dict[int, frozenset[tuple[str, int, int]]] = {}
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="versions", daemon=True)

    def start(self) -> None:
        """Loads the newest version that can be loaded, then watches in a thread of its own.

        Raises:
            UserError: there is no version, or none can be loaded.
        """
        try:
            self._poll()
        except OSError as error:
            raise UserError(f"--model_base_path: {error}") from error
        self._thread.start()

    def stop(self) -> None:
        """Stops watching and closes what is loaded; requests should have ended before."""
        with self._lock:
            self._is_stopping = True
        self._wake.set()
        self._thread.join()
        with self._lock:
            loaded = [*self._retired, *([self._serving] if self._serving else [])]
            self._retired, self._serving = [], None
        for each in loaded:
            each.servable.close()

    def acquire(self, version: int | None) -> Lease[ServableT]:
        """The version that serves; it stays loaded until the lease is released.

        Args:
            version: the version that is wanted; None for whichever is serving.

        Raises:
            NotServingError: `version` is not the one that serves.
        """
        with self._lock:
            loaded = self._serving
            if loaded is None or version not in (None, loaded.version):
                raise NotServingError(f"version {version} is not serving")
            loaded.in_flight += 1
        return Lease(loaded, self._release)

    def _release(self, loaded: _Loaded[ServableT]) -> None:
        with self._lock:
            loaded.in_flight -= 1
            is_last_of_retired = loaded.in_flight == 0 and loaded is not self._serving
        if is_last_of_retired:
            self._wake.set()

    @contextmanager
    def lease(self, version: int | None) -> Iterator[tuple[int, ServableT]]:
        """The number and the servable of an `acquire` that is released with the context."""
        lease = self.acquire(version)
        try:
            yield lease.version, lease.servable
        finally:
            lease.release()

    @property
    def serving_version(self) -> int:
        """The version that answers now.

        Raises:
            NotServingError: none does, before `start` and after `stop`.
        """
        with self._lock:
            if self._serving is None:
                raise NotServingError("no version is serving")
            return self._serving.version

    def statuses(self) -> dict[int, VersionStatus]:
        """The status of every version that was ever tried, newest first."""
        with self._lock:
            return dict(sorted(self._statuses.items(), reverse=True))

    def follow(self, base_path: Path, *, only: int | None) -> None:
        """Goes over to another base path, or pins another version, and serves from there.

        What serves goes on until the other is loaded, and for good if it cannot be.

        Raises:
            UserError: there is no version, or none can be loaded; nothing has changed.
        """
        require_version(base_path, only=only)
        with self._polling:
            before = self._base_path, self._only, self._refused
            self._base_path, self._only, self._refused = base_path, only, {}
            try:
                self._poll()
                serving = self._serving
                if serving is None or serving.directory.parent != base_path:
                    failures = (
                        f"version {v}: {self._statuses[v].error_message}" for v in self._refused
                    )
                    raise UserError(f"{base_path}: " + "; ".join(failures))
            except Exception:
                self._base_path, self._only, self._refused = before
                raise
        self._wake.set()  # To close the one before.

    def _watch(self) -> None:
        while True:
            self._wake.wait(self._poll_interval_s)
            self._wake.clear()
            with self._lock:
                if self._is_stopping:
                    return
            try:
                with self._polling:
                    self._poll()
                    self._close_idle()
            except Exception as error:  # Whatever one look runs into, there must be a next.
                logging.error(
                    "cannot follow %s: %s: %s", self._base_path, type(error).__name__, error
                )

    def _poll(self) -> None:
        """Brings the newest loadable version into service, if it is not there already."""
        versions = find_versions(self._base_path, only=self._only)
        self._refused = {v: seen for v, seen in self._refused.items() if v in versions}
        failures = []
        for version, directory in versions.items():
            if self._serving is not None and self._serving.directory == directory:
                break
            # Taken before the load: a directory that changes meanwhile deserves another try.
            seen = fingerprint(directory)
            if self._refused.get(version) == seen:
                continue
            failure = self._bring_into_service(version, directory)
            if failure is None:
                break
            self._refused[version] = seen
            failures.append(f"version {version}: {failure}")
        if self._serving is None:
            require_version(self._base_path, only=self._only)
            raise UserError(f"--model_base_path: {self._base_path}: " + "; ".join(failures))
        for failure in failures:
            logging.error("%s: %s", self._base_path, failure)

    def _bring_into_service(self, version: int, directory: Path) -> str | None:
        """Loads a version and lets it answer; returns why it could not, if so."""
        self._set_status(version, VersionStatus(state=VersionState.START))
        self._set_status(version, VersionStatus(state=VersionState.LOADING))
        try:
            servable = self._load(directory)
        except Exception as error:  # Whatever a bad version raises, the old one serves on.
            code = error.code if isinstance(error, LoadError) else _UNKNOWN_ERROR_CODE
            message = str(error) or type(error).__name__
            self._set_status(
                version,
                VersionStatus(state=VersionState.END, error_code=code, error_message=message),
            )
            return message
        with self._lock:
            retired, self._serving = self._serving, _Loaded(version, servable, directory)
            changed = {version: VersionStatus(state=VersionState.AVAILABLE)}
            if retired is not None:
                self._retired.append(retired)
                # The same number may come from another base path.
                changed.setdefault(retired.version, VersionStatus(state=VersionState.UNLOADING))
            self._statuses.update(changed)
        for each, status in changed.items():
            self._on_status(each, status)
        return None

    def _close_idle(self) -> None:
        """Closes the retired versions that no request uses any more."""
        with self._lock:
            idle = [loaded for loaded in self._retired if loaded.in_flight == 0]
            self._retired = [loaded for loaded in self._retired if loaded.in_flight > 0]
        for loaded in idle:
            loaded.servable.close()
            # Its number may be in service again: removed and put back before this one drained.
            if self._serving is None or self._serving.version != loaded.version:
                self._set_status(loaded.version, VersionStatus(state=VersionState.END))

    def _set_status(self, version: int, status: VersionStatus) -> None:
        with self._lock:
            self._statuses[version] = status
        self._on_status(version, status)
