import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from configs.errors import UserError
from serving.bundle import Bundle
from serving.embedding import DONE, PLAN, Of, write_embeddings
from serving.offline import embed_requests
from serving.requests import build_request, load_states
from tests.quiet import QUIET
from trainer.restore import restore_run


def read(output: Path) -> tuple[list[str], np.ndarray]:
    done = json.loads((output / DONE).read_text())
    parts = [pq.read_table(p) for p in sorted(output.glob("part-*.parquet"))]
    assert len(parts) == done["parts"] and sum(p.num_rows for p in parts) == done["rows"]
    ids = [i for p in parts for i in p.column(0).to_pylist()]
    return ids, np.concatenate([np.stack(p["embedding"].to_numpy()) for p in parts])


def test_users_are_those_of_the_model_and_a_second_run_completes(
    model_base_path: Path, workdir: Path, tmp_path: Path
) -> None:
    _, dataset, model, _ = restore_run(workdir)
    output = tmp_path / "users"

    def write(rows_per_part: int = 150) -> dict[str, object]:
        return write_embeddings(
            model_base_path,
            output,
            of=Of.USERS,
            dataset=dataset.root,
            rows_per_part=rows_per_part,
            console=QUIET,
        )

    first = write()
    states = load_states(dataset.root, dataset.manifest, dataset.spec)
    ids, vectors = read(output)
    assert first["rows"] == len(ids) == len(set(ids)) and first["written_now"] == first["parts"]
    expected = embed_requests(model, dataset, build_request(dataset.spec, states))
    by_id = dict(zip(states.user_id, expected, strict=True))
    np.testing.assert_allclose(vectors, np.stack([by_id[i] for i in ids]), atol=1e-5)

    # Stopped after the first part: the second is written again, the others are left alone.
    untouched = (output / "part-00000.parquet").stat().st_mtime_ns
    (output / "part-00001.parquet").unlink()
    (output / DONE).unlink()
    assert write()["written_now"] == 1
    assert (output / "part-00000.parquet").stat().st_mtime_ns == untouched
    np.testing.assert_array_equal(read(output)[1], vectors)
    with pytest.raises(UserError, match="found embeddings with rows_per_part 150, expected 99"):
        write(rows_per_part=99)


def test_items_are_those_that_are_listed(
    model_base_path: Path, workdir: Path, tmp_path: Path
) -> None:
    _, dataset, model, _ = restore_run(workdir)
    write_embeddings(
        model_base_path / "1",
        tmp_path / "items",
        of=Of.ITEMS,
        dataset=None,
        rows_per_part=1_000,
        console=QUIET,
    )
    ids, vectors = read(tmp_path / "items")
    assert ids == dataset.catalog.video_id[1:].tolist()
    day = dataset.manifest.splits.last_day
    expected = model.embed_catalog(dataset.catalog.size, day=day)[1:]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_users_need_a_dataset_and_the_output_a_place_of_its_own(
    model_base_path: Path, tmp_path: Path
) -> None:
    def write(of: Of, output: Path) -> None:
        write_embeddings(
            model_base_path, output, of=of, dataset=None, rows_per_part=9, console=QUIET
        )

    with pytest.raises(UserError, match="--dataset: found none"):
        write(Of.USERS, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="found other files there"):
        write(Of.ITEMS, tmp_path)


def embed_items(model: Path, output: Path) -> dict[str, object]:
    return write_embeddings(
        model, output, of=Of.ITEMS, dataset=None, rows_per_part=150, console=QUIET
    )


def test_a_refusal_leaves_nothing_that_the_right_command_trips_over(
    model_base_path: Path, dataset_dir: Path, tmp_path: Path
) -> None:
    def write(dataset: Path) -> dict[str, object]:
        return write_embeddings(
            model_base_path,
            tmp_path / "users",
            of=Of.USERS,
            dataset=dataset,
            rows_per_part=1_000,
            console=QUIET,
        )

    with pytest.raises(UserError, match="nothing-there"):
        write(tmp_path / "nothing-there")
    assert not (tmp_path / "users").exists()
    assert write(dataset_dir)["parts"] == 1


def test_where_nothing_can_be_written_is_one_line(model_base_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for output in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/x")):
        with pytest.raises(UserError, match=f"--output={output}: cannot be (read|written): "):
            embed_items(model_base_path, output)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("plan", ["", "{", "[]", b"\xff"])
def test_a_broken_plan_is_one_line(
    plan: str | bytes, model_base_path: Path, tmp_path: Path
) -> None:
    (tmp_path / PLAN).write_bytes(plan if isinstance(plan, bytes) else plan.encode())
    with pytest.raises(
        UserError, match=f"{tmp_path / PLAN}: found no .*, expected an empty|; expe"
    ):
        embed_items(model_base_path, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [PLAN]


def test_a_vector_that_is_not_finite_is_never_written(
    model_base_path: Path, tmp_path: Path
) -> None:
    version = tmp_path / "m" / "1"
    shutil.copytree(model_base_path / "1", version)
    bundle = Bundle(version)
    key = bundle.key("searcher", "vectors")
    vectors = bundle.values[key].copy()
    vectors[200, 3] = np.nan
    shutil.rmtree(version / "variables")
    bundle.write(version, {key: vectors})
    spoiled = bundle.values[bundle.key("store", "video_id")][201].decode()
    with pytest.raises(UserError, match=f"not finite, of item_id '{spoiled}'"):
        embed_items(version, tmp_path / "items")
    assert not (tmp_path / "items").exists()


@pytest.mark.parametrize("of", Of)
def test_a_damaged_version_is_one_line(
    of: Of, model_base_path: Path, dataset_dir: Path, tmp_path: Path
) -> None:
    version = tmp_path / "m" / "1"
    shutil.copytree(model_base_path / "1", version)
    (data,) = (version / "variables").glob("*.data-*")
    data.write_bytes(data.read_bytes()[:1_000])
    with pytest.raises(UserError, match=f"{version}.*: cannot be (read|loaded): "):
        write_embeddings(
            version,
            tmp_path / "out",
            of=of,
            dataset=dataset_dir,
            rows_per_part=9,
            console=QUIET,
        )
    assert not (tmp_path / "out").exists()
