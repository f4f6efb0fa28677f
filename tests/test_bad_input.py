"""A user's mistake is one line on stderr that names the thing, and nothing is left behind."""

from pathlib import Path

import pytest

from configs.errors import UserError
from tests.commands import run_command
from trainer.restore import restore_run


def refuse(module: str, *flags: str) -> str:
    """Runs a command that must fail with one line; returns the line."""
    done = run_command(module, *flags)
    assert done.returncode != 0, done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (
            "--config.train.batch_sizee=3",
            "--config.train.batch_sizee: found 'batch_sizee', expected a name in config.train: b",
        ),
        ("--config.train.batch_size=many", "--config.train.batch_size=many"),
        ("--config.train.batch_size=-3", "config.train.batch_size: found -3"),
        ("--config.eval.protocols=('window','nextt')", "config.eval.protocols: found 'nextt'"),
        ("--config.eval.baselines.kinds=('EASE','eas')", "eval.baselines.kinds: found 'eas'"),
        ("--config=nowhere.py", "nowhere.py"),
        ("--datasett=x", "datasett"),
    ],
)
def test_a_typo_in_config_or_flags(flag: str, expected: str, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    said = refuse("trainer.task", f"--dataset={tmp_path}", f"--workdir={workdir}", flag)
    assert expected in said
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("module", "flags", "expected"),
    [
        (
            "serving.publish",
            ("--force", "false"),
            "found 'false', expected flags only; a boolean flag is --force or --noforce",
        ),
        (
            "trainer.task",
            ("--config.train.jit_compile", "false", "--dataset=nowhere"),
            "found 'false', expected flags only; a boolean flag is "
            "--config.train.jit_compile or --noconfig.train.jit_compile",
        ),
        (
            "preprocessing.run",
            ("--events=x", "--videos=x", "--config.data.repeats", "false", "--", "--streaming"),
            "found 'false', expected flags only; a boolean flag is --config.data.repeats or --no",
        ),
        ("preprocessing.simulate", ("extra",), "found 'extra', expected flags only"),
        ("preprocessing.describe", ("one", "two"), "DATASET: found ['one', 'two'], expected one"),
        ("preprocessing.describe", ("one",), "DATASET: found no manifest.json in one, expected"),
    ],
)
def test_an_argument_that_is_no_flag(
    module: str, flags: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    places = {"serving.publish": "--candidate", "trainer.task": "--workdir"}
    place = [] if module.endswith("describe") else [f"{places.get(module, '--output')}={output}"]
    said = refuse(module, *place, *flags)
    assert said.startswith(f"error: {expected}")
    assert not output.exists()


def test_a_dataset_without_its_manifest(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    said = refuse("trainer.task", f"--dataset={tmp_path}", f"--workdir={workdir}")
    assert "--dataset" in said and "manifest.json" in said and str(tmp_path) in said
    assert not workdir.exists()


def test_a_dataset_made_for_other_features(dataset_dir: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    said = refuse(
        "trainer.task",
        "--config=configs/movielens.py:loo",
        f"--dataset={dataset_dir}",
        f"--workdir={workdir}",
    )
    assert f"--dataset={dataset_dir}" in said and "found" in said and "expected" in said
    assert not workdir.exists()


def test_a_run_that_is_none(tmp_path: Path) -> None:
    models = tmp_path / "models"
    said = refuse("serving.export", f"--workdir={tmp_path}", f"--output={models}")
    assert "--workdir" in said and "run.json" in said
    assert not models.exists()


@pytest.mark.parametrize(
    ("noted", "said_of_it"),
    [
        ("{", "found what trainer.task does not write"),
        ("[1]", "found what trainer.task does not write"),
        ("{}", "found what trainer.task does not write ('config')"),
        ('{"config": {"nosuch": 1}}', "Config has no field 'nosuch'"),
    ],
)
def test_a_run_whose_notes_are_damaged(tmp_path: Path, noted: str, said_of_it: str) -> None:
    (tmp_path / "run.json").write_text(noted)
    with pytest.raises(UserError) as refused:
        restore_run(tmp_path)
    said = str(refused.value)
    assert said.startswith(f"--workdir={tmp_path}: run.json: ") and said_of_it in said


def test_an_evaluation_of_nothing_or_of_two_things(tmp_path: Path) -> None:
    neither = refuse("trainer.evaluate")
    assert "--workdir=None --model=None: expected one of the two" in neither
    without = refuse("trainer.evaluate", f"--model={tmp_path}", f"--output={tmp_path / 'new'}")
    assert "--dataset: found none" in without
    assert not (tmp_path / "new").exists()


def test_a_server_that_does_not_answer(dataset_dir: Path) -> None:
    said = refuse("serving.query", f"--dataset={dataset_dir}", "--server=localhost:1")
    assert "--server=localhost:1" in said


def test_a_user_whom_nobody_knows(dataset_dir: Path) -> None:
    said = refuse("serving.query", f"--dataset={dataset_dir}", "--user_id=nobody")
    assert "--user_id" in said and "'nobody'" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def get_config(:\n", ", line 1: invalid syntax"),
        ("import nowhere_at_all\n", ", line 1: ModuleNotFoundError"),
        (
            "from configs.kinds import HashedId\n\n\ndef get_config():\n"
            "    return HashedId(column='x', dims=4)\n",
            ", line 5: TypeError: HashedId.__init__() got an unexpected keyword argument 'dims'",
        ),
        ("x = 1\n", "--config: found no get_config()"),
    ],
)
def test_a_config_file_with_a_mistake(text: str, expected: str, tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text(text)
    said = refuse("preprocessing.simulate", f"--config={config}", f"--output={tmp_path / 'logs'}")
    assert expected in said and "Traceback" not in said
    assert "--config" in said


def test_a_workdir_that_cannot_be_made(dataset_dir: Path) -> None:
    said = refuse(
        "trainer.task",
        "--config=configs/smoke.py",
        f"--dataset={dataset_dir}",
        "--workdir=/proc/run",
    )
    assert "--workdir=/proc/run: cannot be written" in said


def test_users_to_embed_without_a_dataset(tmp_path: Path) -> None:
    output = tmp_path / "vectors"
    said = refuse("serving.embed", f"--model={tmp_path}", "--of=users", f"--output={output}")
    assert "--dataset: found none" in said and not output.exists()
