"""HandleReloadConfigRequest: off unless enabled; then it moves the server, or changes nothing."""

from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from tests.tiny_server import (
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NAME,
    TIMEOUT_S,
    Client,
    State,
    predict_request,
    publish,
    refusal,
    serving,
)
from tests.waiting import wait_until


def reload(client: Client, request: Any) -> Any:
    stub = model_service_pb2_grpc.ModelServiceStub(client.channel)
    return stub.HandleReloadConfigRequest(request, timeout=TIMEOUT_S)


def reload_request(base_path: Path | str, *, version: int | None = None, **fields: Any) -> Any:
    request = model_management_pb2.ReloadConfigRequest()
    config = request.config.model_config_list.config.add(
        name=NAME, base_path=str(base_path), model_platform="tensorflow"
    )
    if version is not None:
        config.model_version_policy.specific.versions.append(version)
    for name, value in fields.items():
        setattr(config, name, value)
    return request


def version_of(client: Client) -> int:
    return int(client.predict(predict_request()).model_spec.version.value)


def test_without_the_flag_nothing_is_reloaded(tiny_models: dict[int, Path], tmp_path: Path) -> None:
    publish(tiny_models[1], tmp_path / "a", "1")
    publish(tiny_models[1], tmp_path / "b", "2")
    with serving(tmp_path / "a") as (_, client):
        code, _ = refusal(lambda r: reload(client, r), reload_request(tmp_path / "b"))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert version_of(client) == 1


def test_the_server_goes_over_to_another_base_path_and_version(
    tiny_models: dict[int, Path], tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    publish(tiny_models[1], old, "5")
    for name in ("5", "6", "7"):
        publish(tiny_models[1], new, name)
    with serving(old, enable_reload_config=True) as (server, client):
        assert reload(client, reload_request(new, version=6)).status.error_code == 0
        assert server.version == version_of(client) == 6
        wait_until(lambda: client.states() == {6: State.AVAILABLE, 5: State.END})
        # The same number elsewhere is another version, and the newest is followed again.
        publish(tiny_models[1], old, "6")
        reload(client, reload_request(old))
        wait_until(lambda: client.states() == {6: State.AVAILABLE, 5: State.END})
        publish(tiny_models[1], old, "8")
        wait_until(lambda: version_of(client) == 8)


def test_what_cannot_be_served_is_refused_and_what_serves_goes_on(
    tiny_models: dict[int, Path], tmp_path: Path
) -> None:
    base_path = tmp_path / "model"
    publish(tiny_models[1], base_path, "1")
    broken = publish(tiny_models[1], tmp_path / "broken", "2")
    (broken / "saved_model.pb").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    several = reload_request(base_path)
    several.config.model_config_list.config.add(name="other", base_path="/")
    all_versions = reload_request(base_path)
    all_versions.config.model_config_list.config[0].model_version_policy.all.SetInParent()
    refused = {
        "only a model_config_list": model_management_pb2.ReloadConfigRequest(),
        "found models ['M', 'other'], this server has M alone": several,
        "found models ['x'], this server has M alone": reload_request(base_path, name="x"),
        "model_platform: found torch": reload_request(base_path, model_platform="torch"),
        "base_path: found 'here'": reload_request("here"),
        "model_version_policy: ": all_versions,
    }
    cannot = {
        "found no version": reload_request(tmp_path / "empty"),
        "found versions 1 in": reload_request(base_path, version=9),
        f"{tmp_path / 'broken'}: version 2: ": reload_request(tmp_path / "broken"),
    }
    with serving(base_path, enable_reload_config=True) as (server, client):
        for code, requests in ((INVALID_ARGUMENT, refused), (FAILED_PRECONDITION, cannot)):
            for text, request in requests.items():
                found = refusal(lambda r: reload(client, r), request)
                assert found[0] is code and text in found[1], found
        assert version_of(client) == 1
        publish(tiny_models[1], base_path, "3")
        wait_until(lambda: server.version == 3)
