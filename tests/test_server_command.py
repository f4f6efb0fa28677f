"""`python -m serving.server` as a user starts, stops and mistakes it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny_server import NAME, PREDICT, ROW, TIMEOUT_S, Client, predict_request, publish, save


def command(base_path: Path, *flags: str) -> list[str]:
    module = [sys.executable, "-m", "serving.server"]
    return [*module, f"--model_base_path={base_path}", f"--model_name={NAME}", *flags]


def test_command_without_a_version_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    done = subprocess.run(command(tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: --model_base_path: {tmp_path}: found no version")
    assert done.stderr.count("\n") == 1


def test_command_with_its_port_in_use_is_one_line_before_anything_is_loaded(
    tmp_path: Path,
) -> None:
    # A model that cannot be loaded, and TensorFlow that cannot be imported: the port comes first.
    (tmp_path / "1" / "variables").mkdir(parents=True)
    (tmp_path / "1" / "saved_model.pb").touch()
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison" / "tensorflow.py").write_text("raise SystemExit('TensorFlow imported')")
    path = os.pathsep.join([str(tmp_path / "poison"), os.environ.get("PYTHONPATH", "")])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            command(tmp_path, f"--port={port}", "--rest_api_port=0"),
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"PYTHONPATH": path},
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: --host, --port: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    )


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--port=70000", "--port: found 70000, expected 0 to 65535"),
        ("--poll_interval_s=nan", "--poll_interval_s: found nan, expected 0.01 to 3600"),
        ("--max_message_mib=0", "--max_message_mib: found 0, expected 1 to 2047"),
        ("--version=7", "--version=7: found versions 1 in "),
    ],
)
def test_command_with_a_value_out_of_bounds_is_one_line(
    tmp_path: Path, flag: str, expected: str
) -> None:
    (tmp_path / "1" / "variables").mkdir(parents=True)
    (tmp_path / "1" / "saved_model.pb").touch()
    done = subprocess.run(command(tmp_path, flag), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {expected}")
    assert done.stderr.count("\n") == 1


def rest_port(stderr: Path) -> int:
    """What the log says the server listens on."""
    logged = [json.loads(line) for line in stderr.read_text().splitlines()]
    (port,) = (line["rest_port"] for line in logged if line["event"] == "serving")
    return int(port)


def test_command_serves_until_sigterm_and_exits_0(tmp_path: Path) -> None:
    base_path, stderr = tmp_path / "model", tmp_path / "stderr"
    save(base_path / "1", 1)
    log = stderr.open("w")
    process = subprocess.Popen(
        command(
            base_path,
            *("--port=0", "--rest_api_port=0", "--poll_interval_s=0.05", "--log_format=json"),
        ),
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("serving"):
                break
        ready = re.fullmatch(r"serving M version 1 on 127\.0\.0\.1:(\d+)\n", lines[-1])
        assert ready
        client = Client(int(ready[1]))
        assert client.predict(predict_request()).model_spec.version.value == 1
        publish(base_path / "1", base_path, "2")
        assert process.stdout.readline() == "version 2 is serving\n"
        assert client.predict(predict_request()).model_spec.version.value == 2
        client.channel.close()
        # A request that is half sent is under way: it is answered before the server ends.
        body = json.dumps({"instances": [ROW]}).encode()
        under_way = socket.create_connection(("127.0.0.1", rest_port(stderr)), TIMEOUT_S)
        head = f"POST {PREDICT} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        under_way.sendall(head + body[:5])
        time.sleep(0.5)  # Until the server has read the headers.
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        under_way.sendall(body[5:])
        answer = b"".join(iter(lambda: under_way.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 200 ") and b'"predictions"' in answer
        under_way.close()
        rest = process.stdout.read()
        assert process.wait(timeout=TIMEOUT_S) == 0
    finally:
        process.kill()
        process.stdout.close()
        log.close()
        process.wait()
    result = json.loads(rest.splitlines()[-1])
    assert result["model_name"] == NAME
    assert result["port"] == int(ready[1])
    assert result["versions_served"] == [1, 2]
    # Every line: neither TensorFlow's nor gRPC's C++ has a say of its own.
    logged = [json.loads(line) for line in stderr.read_text().splitlines()]
    states = [(line["version"], line["state"]) for line in logged if line["event"] == "version"]
    assert states[:5] == [
        *((1, "START"), (1, "LOADING"), (1, "AVAILABLE")),
        *((2, "START"), (2, "LOADING")),
    ]
    events = [line["event"] for line in logged]
    assert events.index("serving") < events.index("stopping")
