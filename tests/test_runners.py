"""The job unchanged on runners of other make: the same dataset, and mistakes said as plainly.

A portable runner gets the pipeline as a message and calls the workers back, so that nothing which
the job keeps in its own process may matter. Beam's own job service is always there; the others come
with `make test-prism` (a Go program) and `make test-flink` (a jar), which name them here.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from apache_beam.runners.portability.fn_api_runner.execution import BundleContextManager
from apache_beam.runners.portability.local_job_service import LocalJobServicer

from configs.errors import UserError
from configs.schema import Config
from preprocessing import runner_buffers
from preprocessing.job import preprocess
from tests.decoded import Decoded, run
from tests.quiet import QUIET
from tests.raw_logs import config_of, raw_log, small_data, write_lines

LOOPBACK = "--environment_type=LOOPBACK"
FLINK, PRISM = "FLINK_JOB_SERVER_JAR", "PRISM"


@pytest.fixture(scope="module")
def config() -> Config:
    return config_of(small_data())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return raw_log(5, events=300).write(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def expected(
    config: Config, raw: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Decoded:
    """The dataset of the default runner."""
    return run(config, raw, tmp_path_factory.mktemp("dataset") / "dataset")


@pytest.fixture
def job_service(tmp_path: Path) -> Iterator[list[str]]:
    """Beam options for Beam's own job service, which is up meanwhile."""
    service = LocalJobServicer(str(tmp_path / "staging"))
    port = service.start_grpc_server()
    yield ["--runner=PortableRunner", f"--job_endpoint=localhost:{port}", LOOPBACK]
    service.stop()


def require_same(found: Decoded, expected: Decoded) -> None:
    parts = {file.part for file in expected.manifest.files}
    assert {file.part for file in found.manifest.files} == parts
    for part in parts:
        if part == "train" or part.startswith("queries/"):
            assert found.rows(part) == expected.rows(part)
        elif part in ("catalog", "item_statistics", "users", "positives"):
            assert found.table(part) == expected.table(part)
    assert len(expected.rows("train")) > 50
    assert found.manifest.assets_fingerprint == expected.manifest.assets_fingerprint
    assert found.manifest.counters["total"] == expected.manifest.counters["total"]


def test_a_portable_runner_makes_the_same_dataset(
    config: Config, raw: dict[str, str], expected: Decoded, job_service: list[str], tmp_path: Path
) -> None:
    require_same(run(config, raw, tmp_path / "dataset", *job_service), expected)


def test_a_mistake_found_by_a_worker_comes_out_of_a_portable_runner(
    config: Config, raw: dict[str, str], job_service: list[str], tmp_path: Path
) -> None:
    empty = str(write_lines(tmp_path / "none.jsonl", []))
    with pytest.raises(UserError, match=r"^--events: found no rows, expected at least one$"):
        preprocess(
            config,
            tables=raw | {"events": empty},
            output=tmp_path / "dataset",
            beam_options=job_service,
            display=QUIET,
        )
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--runner=NoSuchRunner", "Unexpected pipeline runner: NoSuchRunner"),
        ("--runner=no.such.Runner", "No module named 'no'"),
        ("--direct_running_mode=multi_threading", "found --direct_running_mode=multi_threading"),
    ],
)
def test_a_runner_that_cannot_be_had(
    option: str, message: str, config: Config, raw: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"^Beam options after --: {message}"):
        run(config, raw, tmp_path / "dataset", option)


def test_workers_that_meet_at_a_buffer_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that both find no buffer must not make one each: what the first got is lost."""

    class Slow(dict[bytes, object]):
        def __contains__(self, key: object) -> bool:
            found = super().__contains__(key)
            time.sleep(0.05)
            return found

    manager = object.__new__(BundleContextManager)
    manager.execution_context = SimpleNamespace(pcoll_buffers=Slow())
    monkeypatch.setattr(manager, "get_input_coder_impl", lambda transform: None)
    # What a run does before it begins.
    runner_buffers.make_safe()

    with ThreadPoolExecutor(4) as threads:
        asked = [
            threads.submit(manager.get_buffer, b"materialize:events", "read") for _ in range(4)
        ]
        buffers = {id(each.result()) for each in asked}

    assert len(buffers) == 1


def test_an_address_is_no_directory(config: Config, raw: dict[str, str]) -> None:
    expected = r"^--output: found gs://bucket/dataset, expected a directory"
    with pytest.raises(UserError, match=expected):
        preprocess(config, tables=raw, output=Path("gs://bucket/dataset"), display=QUIET)
    assert not Path("gs:").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "options"),
    [
        (PRISM, ["--runner=PrismRunner", "--prism_location="]),
        (FLINK, ["--runner=FlinkRunner", "--flink_master=[local]", "--flink_job_server_jar="]),
    ],
    ids=["prism", "flink"],
)
def test_another_runner_makes_the_same_dataset(
    variable: str,
    options: list[str],
    config: Config,
    raw: dict[str, str],
    expected: Decoded,
    tmp_path: Path,
) -> None:
    where = os.environ.get(variable)
    if not where:
        pytest.skip(
            f"{variable} is not set: run with make test-{variable.partition('_')[0].lower()}"
        )
    options = [*options[:-1], options[-1] + where, LOOPBACK]
    require_same(run(config, raw, tmp_path / "dataset", *options), expected)
