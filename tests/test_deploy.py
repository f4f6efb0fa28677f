"""deploy/: what the Compose file promises, and its health check against a real model."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.grpc_server import serve
from serving.options import ServerOptions
from tests.tiny_server import NAME, save, serving

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


def health(port: int | None, model_name: str) -> int:
    test = [
        str(port) if part == "8501" else part for part in SERVICES["twin"]["healthcheck"]["test"]
    ]
    assert test.pop(0) == "CMD"
    test = [part.replace("/config", str(DEPLOY / "config")) for part in test]
    test = [model_name if part == "retrieval" else part for part in test]
    return subprocess.run(test, capture_output=True, timeout=60).returncode


def test_only_the_twin_starts_unasked_and_nothing_is_built() -> None:
    assert {name for name, service in SERVICES.items() if not service.get("profiles")} == {"twin"}
    assert {name: service["image"] for name, service in SERVICES.items()} == {
        "twin": "tensorflow/serving:2.20.0",
        "scann": "google/tf-serving-scann:2.11.0",
    }
    assert not any("build" in service for service in SERVICES.values())
    assert SERVICES["twin"]["volumes"][0].endswith("/retrieval_twin:/models/retrieval:ro")
    assert SERVICES["scann"]["volumes"][0].endswith("/retrieval:/models/retrieval:ro")


@pytest.mark.parametrize("name", SERVICES)
def test_containers_can_do_little(name: str) -> None:
    service = SERVICES[name]
    uid, gid = service["user"].split(":")
    assert int(uid) > 0 and int(gid) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "network_mode" not in service
    assert "--enable_profiler=false" in service["command"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert {"mem_limit", "cpus", "pids_limit", "healthcheck"} <= set(service)


def test_files_that_the_containers_read_are_there() -> None:
    for service in SERVICES.values():
        read = " ".join([*service["command"], *service["healthcheck"]["test"]])
        for name in (
            part for part in read.replace("=", " ").split() if part.startswith("/config/")
        ):
            assert (DEPLOY / "config" / name.removeprefix("/config/")).is_file()


def test_the_health_check_is_a_predict_of_the_exported_model(model_base_path: Path) -> None:
    options = ServerOptions(
        model_base_path=model_base_path, model_name="retrieval", port=0, rest_api_port=0
    )
    with serve(options) as server:
        assert health(server.rest_port, "retrieval") == 0
        assert health(server.rest_port, "nomodel") != 0
        port = server.rest_port
    assert health(port, "retrieval") != 0


def test_a_model_that_serves_but_cannot_answer_is_unhealthy(tmp_path: Path) -> None:
    save(tmp_path / "1", 1)  # It has no signature recommend_examples.
    with serving(tmp_path, rest_api_port=0) as (server, _):
        assert health(server.rest_port, NAME) != 0
