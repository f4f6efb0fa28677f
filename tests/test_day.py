"""The steps of a day: each a process, resumed where it stopped. Commands here are tiny modules."""

import fcntl
import io
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from configs.errors import UserError
from serving.day import STATE, Step, is_day, run_day, steps_of_day
from tests.commands import ROOT
from tests.quiet import QUIET
from tests.waiting import wait_until


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `step` that appends its name to a file, and fails while a file `broken` exists."""
    (tmp_path / "step.py").write_text(
        "import sys, pathlib, json\n"
        "root, name = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "with (root / 'ran').open('a') as f: f.write(name + '\\n')\n"
        "if (root / f'broken-{name}').exists(): sys.exit('error: the disk is full')\n"
        "(root / f'made-{name}').touch()\n"
        "print('working'); print(json.dumps({'made': name}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def steps(root: Path) -> list[Step]:
    return [Step(name=n, command=["step", str(root), n], needs=[root / f"made-{n}"]) for n in "abc"]


def ran(root: Path) -> str:
    return (root / "ran").read_text().replace("\n", "")


def test_a_day_goes_on_where_it_stopped(commands: Path) -> None:
    day = commands / "day"
    (commands / "broken-b").touch()
    with pytest.raises(UserError, match=r"b: the disk is full \(all of it in .*b\.log\)"):
        run_day(day, steps(commands), console=QUIET)
    assert ran(commands) == "ab"
    (commands / "broken-b").unlink()
    summary = run_day(day, steps(commands), console=QUIET)
    assert ran(commands) == "abbc"
    assert [summary[n]["resumed"] for n in "abc"] == [True, False, False]
    assert summary["c"]["result"] == {"made": "c"}
    run_day(day, steps(commands), console=QUIET)
    assert ran(commands) == "abbc"


def test_what_is_gone_is_made_again_with_all_that_follows(commands: Path) -> None:
    day = commands / "day"
    run_day(day, steps(commands), console=QUIET)
    (commands / "made-b").unlink()
    run_day(day, steps(commands), console=QUIET)
    assert ran(commands) == "abcbc"


def test_a_command_is_shown_as_a_shell_takes_it(commands: Path) -> None:
    shown = Console(file=io.StringIO(), width=40)
    (step,) = steps(commands)[:1]
    command = [*step.command, "--kinds=('iALS',)", "[bold]"]
    run_day(commands / "day", [replace(step, command=command)], console=shown)
    (line,) = (line for line in shown.file.getvalue().splitlines() if line.startswith("a: "))
    assert shlex.split(line) == ["a:", "python", "-m", *command]


def test_two_runs_of_a_day_do_not_meet(commands: Path) -> None:
    day = commands / "day"
    run_day(day, steps(commands)[:1], console=QUIET)
    with (day / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another run is at work"):
            run_day(day, steps(commands), console=QUIET)


@pytest.mark.parametrize("state", ["", "{", "[]", '{"a": 1}'])
def test_a_state_that_cannot_be_read_is_one_line(state: str, commands: Path) -> None:
    day = commands / "day"
    run_day(day, steps(commands)[:1], console=QUIET)
    (day / STATE).write_text(state)
    with pytest.raises(UserError, match=f"{day / STATE}: found no .*; without it the day begins"):
        run_day(day, steps(commands), console=QUIET)
    (day / STATE).unlink()
    run_day(day, steps(commands), console=QUIET)
    assert ran(commands) == "aabc"


def test_where_no_day_can_be_written_is_one_line(commands: Path) -> None:
    (commands / "file").touch()
    for day in (Path("/proc/x/day"), commands / "file" / "day"):
        with pytest.raises(UserError, match=f"--workdir: {day} cannot be made: "):
            run_day(day, steps(commands), console=QUIET)


def test_killed_amid_a_step_the_step_dies_too_and_the_next_run_goes_on(commands: Path) -> None:
    (commands / "waits.py").write_text(
        "import sys, pathlib, os, time\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "(root / 'pid').write_text(str(os.getpid())); (root / 'waiting').touch()\n"
        "while not (root / 'go').exists(): time.sleep(0.02)\n"
        "(root / 'made-w').touch(); print('{}')\n"
    )
    day = commands / "day"
    run = (
        "from pathlib import Path; from serving.day import STATE, Step, is_day, run_day\n"
        "from tests.quiet import QUIET; from tests.test_day import steps\n"
        f"root = Path({str(commands)!r})\n"
        "waits = Step(name='w', command=['waits', str(root)], needs=[root / 'made-w'])\n"
        "run_day(root / 'day', [*steps(root)[:1], waits], console=QUIET)\n"
    )
    path = os.pathsep.join([str(commands), str(ROOT)])
    with subprocess.Popen([sys.executable, "-c", run], env=os.environ | {"PYTHONPATH": path}) as at:
        wait_until((commands / "waiting").exists)
        at.send_signal(signal.SIGKILL)
    step = int((commands / "pid").read_text())
    wait_until(lambda: not Path(f"/proc/{step}").exists())
    (commands / "go").touch()
    waits = Step(name="w", command=["waits", str(commands)], needs=[commands / "made-w"])
    summary = run_day(day, [*steps(commands)[:1], waits], console=QUIET)
    assert ran(commands) == "a"
    assert [summary[n]["resumed"] for n in "aw"] == [True, False]


def test_what_a_later_step_takes_away_is_not_missed(commands: Path) -> None:
    """As a candidate that is published; killed after that, the last step is asked again."""
    first, second, third = steps(commands)
    chain = [replace(first, until="b"), second, third]
    run_day(commands / "day", chain, console=QUIET)
    (commands / "made-a").unlink()
    run_day(commands / "day", chain, console=QUIET)
    assert ran(commands) == "abc"
    # Refused by the later step, it is made anew.
    (commands / "made-b").unlink()
    (commands / "broken-b").touch()
    with pytest.raises(UserError, match="b: the disk is full"):
        run_day(commands / "day", chain, console=QUIET)
    (commands / "broken-b").unlink()
    run_day(commands / "day", chain, console=QUIET)
    assert ran(commands) == "abcb" + "abc"


@pytest.mark.parametrize("name", ["2023-W48-5", "20231201", "2023-12-1", "2023-02-30", "today", ""])
def test_a_day_has_one_name(name: str) -> None:
    assert is_day("2023-12-01") and not is_day(name)


def test_the_real_steps_hand_on_what_they_make(tmp_path: Path) -> None:
    made = steps_of_day(
        tmp_path,
        tmp_path / "models",
        tables={"events": "E", "videos": "V", "users": ""},
        config_flags=["--config=C"],
        export_flags=["--twin"],
    )
    assert [s.command[0] for s in made] == [
        *("preprocessing.run", "trainer.task"),
        *("serving.export", "serving.gate", "serving.publish"),
    ]
    assert f"--output={tmp_path / 'dataset'}" in made[0].command
    assert f"--dataset={tmp_path / 'dataset'}" in made[1].command
    assert f"--workdir={tmp_path / 'train'}" in made[2].command and "--twin" in made[2].command
    candidate = tmp_path / "models" / f".candidate-{tmp_path.name}"
    assert f"--candidate={candidate}" in made[3].command and made[3].needs == [candidate]
    assert f"--candidate={candidate}" in made[4].command
    assert not any(flag.startswith("--users") for flag in made[0].command)
