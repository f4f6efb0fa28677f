"""TLS and mutual TLS on both ports, with the certificates that each side should not accept."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from configs.errors import UserError
from serving.client import Client
from serving.grpc_server import Server
from serving.tls import client_credentials
from tests.commands import run_command
from tests.tiny_server import NAME, TIMEOUT_S, options_of, predict_request, save, serving

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="no openssl to make certificates with")


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path


def openssl(*arguments: Any) -> None:
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *map(str, arguments)], check=True, capture_output=True)


def authority(root: Path, name: str) -> Pair:
    pair = Pair(root / f"{name}.pem", root / f"{name}.key")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        *("req", "-x509", *curve, "-days", 2, "-subj", f"/CN={name}"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", pair.key, "-out", pair.certificate),
    )
    return pair


def issue(root: Path, name: str, by: Pair) -> Pair:
    pair, asked, names = Pair(root / f"{name}.pem", root / f"{name}.key"), root / name, root / "san"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", *curve, "-subj", f"/CN={name}", "-keyout", pair.key, "-out", asked)
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl(
        *("x509", "-req", "-in", asked, "-CA", by.certificate, "-CAkey", by.key),
        *("-CAcreateserial", "-days", 2, "-extfile", names, "-out", pair.certificate),
    )
    return pair


class Certificates(NamedTuple):
    """Two authorities and what the first and the second issued."""

    ca: Pair
    server: Pair
    client: Pair
    other_ca: Pair
    stranger: Pair


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    root = tmp_path_factory.mktemp("certificates")
    ca, other_ca = authority(root, "ca"), authority(root, "other-ca")
    issued = issue(root, "server", ca), issue(root, "client", ca)
    return Certificates(ca, *issued, other_ca, issue(root, "stranger", other_ca))


@pytest.fixture(scope="module")
def base_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    save(root / "1", 1)
    return root


def tls_of(made: Certificates, *, mutual: bool) -> dict[str, Any]:
    return {
        "ssl_certificate": made.server.certificate,
        "ssl_key": made.server.key,
        "client_ca": made.ca.certificate if mutual else None,
    }


@pytest.fixture(scope="module", params=[False, True], ids=["tls", "mutual"])
def live(
    request: pytest.FixtureRequest, made: Certificates, base_path: Path
) -> Iterator[tuple[Server, bool]]:
    options = tls_of(made, mutual=request.param)
    with serving(base_path, rest_api_port=0, **options) as (server, _):
        yield server, request.param


def over_grpc(server: Server, ca: Pair | None, mine: Pair | None) -> int:
    """The version that answers a client with these certificates."""
    target = f"localhost:{server.port}"
    if ca is None:
        channel = grpc.insecure_channel(target)
    else:
        shown = (mine.key.read_bytes(), mine.certificate.read_bytes()) if mine else (None, None)
        channel = grpc.secure_channel(
            target, grpc.ssl_channel_credentials(ca.certificate.read_bytes(), *shown)
        )
    with channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        version: int = stub.Predict(predict_request(), timeout=TIMEOUT_S).model_spec.version.value
        return version


def over_rest(server: Server, ca: Pair | None, mine: Pair | None) -> int:
    """The HTTP status that a client with these certificates gets."""
    assert server.rest_port is not None
    if ca is None:
        connection = http.client.HTTPConnection("localhost", server.rest_port, timeout=TIMEOUT_S)
    else:
        context = ssl.create_default_context(cafile=str(ca.certificate))
        if mine:
            context.load_cert_chain(mine.certificate, mine.key)
        connection = http.client.HTTPSConnection(
            "localhost", server.rest_port, timeout=TIMEOUT_S, context=context
        )
    row = {"age": 10, "history": ["a", ""], "user_id": "u2"}
    try:
        connection.request("POST", f"/v1/models/{NAME}:predict", json.dumps({"instances": [row]}))
        return connection.getresponse().status
    finally:
        connection.close()


def test_those_who_may_are_answered(live: tuple[Server, bool], made: Certificates) -> None:
    server, mutual = live
    mine = made.client if mutual else None
    assert over_grpc(server, made.ca, mine) == 1
    assert over_rest(server, made.ca, mine) == 200


@pytest.mark.parametrize("who", ["plaintext", "wrong CA", "no certificate", "stranger"])
def test_others_are_not(live: tuple[Server, bool], made: Certificates, who: str) -> None:
    server, mutual = live
    ca = {"plaintext": None, "wrong CA": made.other_ca}.get(who, made.ca)
    mine = {"no certificate": None, "stranger": made.stranger}.get(who, made.client)
    if who in ("no certificate", "stranger") and not mutual:
        # Nobody asks for a client's certificate.
        assert (over_grpc(server, ca, mine), over_rest(server, ca, mine)) == (1, 200)
        return
    with pytest.raises(grpc.RpcError) as error:
        over_grpc(server, ca, mine)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises((OSError, http.client.HTTPException)):
        over_rest(server, ca, mine)
    known = made.client if mutual else None
    assert over_grpc(server, made.ca, known) == 1
    assert over_rest(server, made.ca, known) == 200


def test_a_client_that_never_shakes_hands_holds_up_nobody(
    live: tuple[Server, bool], made: Certificates
) -> None:
    server, mutual = live
    with socket.create_connection(("127.0.0.1", server.rest_port), TIMEOUT_S):
        assert over_rest(server, made.ca, made.client if mutual else None) == 200


def test_the_client_shows_its_certificate(made: Certificates, base_path: Path) -> None:
    with serving(base_path, **tls_of(made, mutual=True)) as (server, _):
        credentials = client_credentials(
            ca_certificate=made.ca.certificate,
            client_certificate=made.client.certificate,
            client_key=made.client.key,
        )
        client = Client(
            f"localhost:{server.port}", NAME, timeout_s=TIMEOUT_S, credentials=credentials
        )
        outputs, version = client.predict({"user_id": ["u1"]}, signature="embed_user")
        client.channel.close()
        assert (outputs["embedding"].tolist(), version) == ([[1.0, 2.0]], 1)
        plain = Client(f"localhost:{server.port}", NAME, timeout_s=TIMEOUT_S)
        with pytest.raises(UserError, match=f"^--server=localhost:{server.port}: no answer"):
            plain.predict({"user_id": ["u1"]}, signature="embed_user")
        plain.channel.close()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--client_key"], "--ca_certificate: found none, expected one beside --client_key"),
        (["--ca_certificate", "--client_key"], "--client_certificate: found none"),
    ],
)
def test_query_names_the_certificate_that_is_missing(
    made: Certificates, given: list[str], text: str
) -> None:
    flags = [f"{flag}={made.client.key}" for flag in given]
    done = run_command("serving.query", "--dataset=absent", *flags)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {text}")


def test_files_that_will_not_do_are_named(
    made: Certificates, base_path: Path, tmp_path: Path
) -> None:
    noise, locked = tmp_path / "noise", tmp_path / "locked.key"
    noise.write_text("no PEM")
    openssl("ec", "-in", made.server.key, "-aes256", "-passout", "pass:secret", "-out", locked)
    good = tls_of(made, mutual=True)
    cases = {
        "--ssl_key: found none": good | {"ssl_key": None},
        "--client_ca: found no --ssl_certificate": {"client_ca": made.ca.certificate},
        "--ssl_certificate=.*/noise: found no PEM": good | {"ssl_certificate": noise},
        "--ssl_key=.*/absent: No such file": good | {"ssl_key": tmp_path / "absent"},
        "--client_ca=.*/noise: found no PEM": good | {"client_ca": noise},
        "--ssl_key=.*/client.key: found key values mismatch": good | {"ssl_key": made.client.key},
        "--ssl_key=.*/locked.key: found .* without a passphrase": good | {"ssl_key": locked},
    }
    for text, options in cases.items():
        with pytest.raises(UserError, match=text):
            Server(options_of(base_path, **options))
