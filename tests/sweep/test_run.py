"""A run: what it holds, how it goes on, and what it refuses."""

import io
import itertools
import json
import logging
import os
import platform
import time

import datasets
import duckdb
import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from diffusion_lens.errors import ExperimentError, InputError, OutOfMemoryError, RunError
from diffusion_lens.runs.export import export_run
from diffusion_lens.runs.status import read_status
from diffusion_lens.sweep.open import open_run, run_sweep
from tests.sweep.helpers import make, read, same


@pytest.fixture
def draw(tiny_lens):
    def draw(experiment, out, **options):
        return run_sweep(experiment, out, lens=tiny_lens("sd"), progress=False, **options)

    return draw


def test_images_are_those_of_the_lens(draw, tiny_lens, tmp_path):
    experiment = make(machine={"batch_size": 4, "image": "webp"})
    assert draw(experiment, tmp_path).drawn == 18
    lens = tiny_lens("sd")
    table = read(tmp_path)
    settings = {"steps": 2, "guidance": 2.0, "height": 16, "width": 16, "progress": False}
    before, lens.denoiser.batch_size = lens.denoiser.batch_size, 4
    try:
        expected = lens(["a red fox", "a blue car"], [0, 2, "native"], [0, 1, 2], **settings)
    finally:
        lens.denoiser.batch_size = before
    for row in table.itertuples():
        image = expected.image("native" if row.native else row.layer, row.seed, row.prompt)
        drawn = Image.open(io.BytesIO(row.image["bytes"])).convert("RGB")
        assert np.array_equal(drawn, image)
    shared = set(expected.table) - {"image", "model", "cell", "batch", "seconds"}
    mine = table.sort_values(["prompt", "native", "layer", "seed"], ignore_index=True)
    theirs = expected.table.sort_values(["prompt", "native", "layer", "seed"], ignore_index=True)
    for name in shared:
        assert mine[name].fillna("").tolist() == theirs[name].fillna("").tolist(), name


def test_layers_that_an_experiment_has_no_more_are_named_by_their_site(draw, tmp_path, caplog):
    few = {"prompts": ["a red fox"], "seeds": [0]}
    draw(make(layers=[2, 3, "2.attn", "native+2.mlp"], **few), tmp_path)
    draw(make(layers=[2], **few), tmp_path)
    assert "3 images in" in caplog.text
    assert "kept as they are: layer 2.attn, 3, native+2.mlp." in caplog.text


def test_a_run_opens_as_it_is(draw, tmp_path):
    prompts = [{"prompt": "a red fox", "kind": "single", "rank": 3}, {"prompt": "a car", "rank": 9}]
    draw(make(prompts=prompts), tmp_path / "a run")
    loaded = datasets.load_dataset(str(tmp_path / "a run"), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(loaded) == 18 and loaded[0]["image"].size == (16, 16)
    counts = duckdb.sql(
        f"select rank, count(*) from '{tmp_path}/a run/images/*.parquet' group by 1"
    ).fetchall()
    assert sorted(counts) == [(3, 9), (9, 9)]
    table = pd.read_parquet(tmp_path / "a run/images")
    assert table["kind"].isna().sum() == 9
    assert {"cell", "batch", "seconds", "version", "torch", "diffusers", "device", "commit"} <= set(table)


def test_the_same_call_again_draws_nothing_and_needs_no_model(draw, tmp_path):
    draw(make(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if "locks" not in str(path)}
    with open_run(make(), tmp_path) as run:  # "tiny" is no model that could be loaded
        assert run.todo() == [] and run.lens is None
        assert run.draw(progress=False).drawn == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_run_grows_and_shrinks_with_its_experiment(draw, tmp_path, caplog):
    draw(make(), tmp_path / "run")
    small = read(tmp_path / "run")
    grown = make(prompts=["a blue car", "a cat"], layers=[0, 2, "native", 1], seeds=[0, 1, 2, 7])
    with caplog.at_level(logging.WARNING, "diffusion_lens"):
        assert draw(grown, tmp_path / "run").drawn == 2 * 4 * 4 - 9
    assert "9 images in" in caplog.text and "kept as they are: prompt 'a red fox'." in caplog.text
    found = read_status(tmp_path / "run")
    assert (found.planned, found.done, found.to_do, found.left_alone) == (32, 32, 0, 9)
    table = read(tmp_path / "run")
    assert table["cell"].is_unique and len(table) == 32 + 9
    same(table[table["cell"].isin(small["cell"])].reset_index(drop=True), small)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sampler": {"steps": 3, "guidance": 2.0, "height": 16, "width": 16}}, "steps was 2 and is 3"),
        ({"model": "other"}, "model was 'tiny' and is 'other'"),
        ({"pooled": "empty"}, "pooled was 'hold' and is 'empty'"),
        ({"machine": {"dtype": "bfloat16"}}, "machine.dtype was 'float32' and is 'bfloat16'"),
        ({"prompts": [{"prompt": "a red fox", "kind": "x"}]}, "metadata have other columns"),
    ],
)
def test_other_settings_are_refused(draw, tmp_path, change, told):
    draw(make(), tmp_path)
    before = read(tmp_path)
    with pytest.raises(RunError, match=told):
        draw(make(**change), tmp_path)
    same(read(tmp_path), before)


def test_another_model_of_the_same_name_is_refused(draw, new_lens, tmp_path):
    draw(make(), tmp_path)
    lens = new_lens("sd")
    with torch.no_grad():
        lens.pipeline.unet.conv_in.weight.add_(1)
    for more in ({"seeds": [0, 9]}, {"layers": [0, 3]}):
        with pytest.raises(RunError, match="not the one that this run began with: its unet changed"):
            run_sweep(make(**more), tmp_path, lens=lens, progress=False)


def test_shards_together_are_the_whole(draw, tmp_path):
    draw(make(), tmp_path / "whole")
    counts = [
        draw(make(machine={"batch_size": size}), tmp_path / "shards", shard=(index, 3)).drawn
        for index, size in ((3, 4), (1, 2), (2, 5))  # each as its memory allows
    ]
    assert counts == [6, 6, 6]
    shards, whole = (read(tmp_path / name).drop(columns="batch") for name in ("shards", "whole"))
    same(shards, whole)
    assert draw(make(), tmp_path / "shards").drawn == 0
    with pytest.raises(InputError, match="Shard 4 of 3 does not exist"):
        draw(make(), tmp_path / "shards", shard=(4, 3))


def test_a_run_can_live_in_an_object_store(draw, tmp_path):
    draw(make(), tmp_path / "disk")
    draw(make(seeds=[0]), "memory://study/run")
    assert draw(make(), "memory://study/run").drawn == 12
    memory = fsspec.filesystem("memory")
    memory.get("study/run/images", str(tmp_path / "copy/images"), recursive=True)
    table, expected = read(tmp_path / "copy"), read(tmp_path / "disk")
    assert table["cell"].tolist() == expected["cell"].tolist()
    assert read_status("memory://study/run").done == 18
    assert not memory.glob("study/run/**/*.partial") and not memory.ls("study/run/locks")


def test_a_run_in_an_object_store_is_held_by_one(draw):
    draw(make(), "memory://held")
    with open_run(make(), "memory://held"):
        with pytest.raises(RunError, match="is being drawn by another process"):
            draw(make(), "memory://held")
    assert draw(make(), "memory://held").drawn == 0


def test_a_run_that_another_process_took_over_is_written_no_more(tiny_lens, monkeypatch):
    monkeypatch.setattr("diffusion_lens.runs.lock._RENEW_SECONDS", 0.05)
    files = fsspec.filesystem("memory")
    theirs = json.dumps({"owner": "they", "until": time.time() + 1000}).encode()
    with open_run(make(), "memory://taken", lens=tiny_lens("sd")) as run:

        def take_over(_estimate):
            """After the first batch, which waits to be written, until this process notices."""
            files.pipe_file("taken/locks/1-of-1.lock", theirs)
            with pytest.raises(RunError):
                for _ in range(1000):
                    run.check_held()
                    time.sleep(0.01)

        with pytest.raises(RunError, match=r"no longer holds memory://taken.* give the same command"):
            run.draw(progress=False, on_estimate=take_over)
    assert not files.exists("taken/images")
    assert files.cat_file("taken/locks/1-of-1.lock") == theirs


def test_damaged_and_foreign_parts_are_named(draw, tmp_path):
    draw(make(), tmp_path, part_rows=4)
    parts = sorted((tmp_path / "images").iterdir())
    whole = parts[0].read_bytes()
    parts[0].write_bytes(whole[: len(whole) // 2])
    parts[1].write_bytes(b"")
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "images/mine.parquet")
    with pytest.raises(RunError) as told:
        draw(make(), tmp_path)
    message = str(told.value)
    assert f"{parts[0].name}: is cut short or damaged" in message
    assert f"{parts[1].name}: is cut short or damaged" in message
    assert "mine.parquet: was not written by a sweep" in message and "Move them out" in message
    for name in (parts[0], parts[1], tmp_path / "images/mine.parquet"):
        name.rename(tmp_path / name.name)
    left = len(read(tmp_path))
    assert 0 < left < 18 and draw(make(), tmp_path).drawn == 18 - left
    assert len(read(tmp_path)) == 18


def test_a_cell_that_is_there_twice_is_told(draw, tmp_path):
    draw(make(), tmp_path)
    (part,) = (tmp_path / "images").iterdir()
    pq.write_table(pq.read_table(part).slice(0, 3), tmp_path / "images/part-copy.parquet")
    with pytest.raises(RunError, match=r"holds cells twice, in images/part-.*part-copy\.parquet"):
        draw(make(), tmp_path)


def test_a_prompt_that_fails_is_told_and_retried(new_lens, tmp_path):
    lens = new_lens("sd")
    broken = True
    bad = lens.pipeline.tokenizer("a bad word").input_ids

    def refuse(_module, arguments):
        if broken and arguments[0][0, : len(bad) - 1].tolist() == bad[:-1]:
            raise RuntimeError("no such word\nand more")

    lens.pipeline.text_encoder.register_forward_pre_hook(refuse)
    experiment = make(prompts=["a red fox", "a bad word", "a blue car"])
    summary = run_sweep(experiment, tmp_path, lens=lens, progress=False)
    assert (summary.drawn, summary.failed) == (18, {"RuntimeError: no such word": 9})
    assert set(read(tmp_path)["prompt"]) == {"a red fox", "a blue car"}
    found = read_status(tmp_path)
    assert found.failed == {"RuntimeError: no such word": 9} and found.to_do == 0
    assert run_sweep(experiment, tmp_path, lens=lens, progress=False).drawn == 0
    again = run_sweep(experiment, tmp_path, lens=lens, progress=False, retry_failed=True)
    assert again.failed == {"RuntimeError: no such word": 9}
    assert read_status(tmp_path).failed == {"RuntimeError: no such word": 9}
    broken = False
    assert run_sweep(experiment, tmp_path, lens=lens, progress=False, retry_failed=True).drawn == 9
    assert read_status(tmp_path).failed == {} and not os.listdir(tmp_path / "failed")
    assert len(read(tmp_path)) == 27


def test_one_bad_image_does_not_harm_its_batch(new_lens, tmp_path):
    lens = new_lens("sd")
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator("cpu").manual_seed(1))

    def refuse(_module, arguments):
        # as a kernel does that meets a value it can't take
        if any(torch.allclose(one, noise[0]) for one in arguments[0]):
            raise RuntimeError("device-side assert\nsomewhere")

    lens.pipeline.unet.register_forward_pre_hook(refuse)
    summary = run_sweep(make(layers=[2]), tmp_path, lens=lens, progress=False)
    assert (summary.drawn, summary.failed) == (4, {"RuntimeError: device-side assert": 2})
    assert sorted(read(tmp_path)["seed"]) == [0, 0, 2, 2]


def test_memory_that_ran_out_halves_the_batch_and_is_remembered(draw, new_lens, tmp_path, caplog):
    lens = new_lens("sd")
    seen = []

    def allocate(_module, arguments):
        seen.append(len(arguments[0]) // 2)  # guided: two rows an image
        if seen[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    lens.pipeline.unet.register_forward_pre_hook(allocate)
    experiment = make(machine={"batch_size": 8})
    assert run_sweep(experiment, tmp_path / "small", lens=lens, progress=False).drawn == 18
    assert seen[:2] == [8, 4] and max(seen[2:]) == 2
    assert "Out of memory at 8 images a batch; going on with 4." in caplog.text
    assert set(read(tmp_path / "small")["batch"]) == {2}
    seen.clear()
    lens.denoiser.batch_size = 8
    more = make(machine={"batch_size": 8}, seeds=[0, 1, 2, 3])
    assert run_sweep(more, tmp_path / "small", lens=lens, progress=False).drawn == 6
    assert max(seen) == 2
    # what memory allows is no part of an image
    draw(make(machine={"batch_size": 2}, seeds=[0, 1, 2, 3]), tmp_path / "whole")
    small, whole = read(tmp_path / "small"), read(tmp_path / "whole")
    assert [one["bytes"] for one in small["image"]] == [one["bytes"] for one in whole["image"]]


def test_not_even_one_image_fits(new_lens, tmp_path):
    lens = new_lens("sd")

    def allocate(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    lens.pipeline.unet.register_forward_pre_hook(allocate)
    with pytest.raises(OutOfMemoryError, match="Not even one image fits into memory"):
        run_sweep(make(), tmp_path, lens=lens, progress=False)


def test_a_row_says_by_how_many_threads_it_was_drawn(draw, tmp_path):
    draw(make(), tmp_path)
    assert set(read(tmp_path)["device"]) == {
        f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
    }


def test_the_share_of_the_hardwares_limit_is_measured_and_told(tiny_lens, draw, tmp_path, monkeypatch):
    draw(make(), tmp_path / "short")
    assert read_status(tmp_path / "short").share == {}  # not worth the time on so few images
    monkeypatch.setattr("diffusion_lens.sweep.draw._WORTH_MEASURING", 18)
    draw(make(), tmp_path / "long")
    found = read_status(tmp_path / "long")
    ((device, share),) = found.share.items()
    session = json.loads(next((tmp_path / "long/sessions").iterdir()).read_text())
    rate = found.rate[device] * session["flops_per_image"]
    assert share == pytest.approx(rate / session["matmul_flops"]) and 0 < share < 1
    # by hand, of the last convolution alone: 3 x 3 x 16 channels to 4, 8 x 8 places, 2 rows, 2 steps
    assert session["flops_per_image"] > 2 * 9 * 16 * 4 * 64 * 2 * 2


def test_a_run_of_nothing_but_failures_ends(new_lens, tmp_path):
    lens = new_lens("sd")

    def refuse(*_):
        raise RuntimeError("no luck today")

    lens.pipeline.unet.register_forward_hook(refuse)
    with pytest.raises(RunError, match="None of the first 20 images could be drawn: RuntimeError: no luck"):
        run_sweep(make(seeds=list(range(20))), tmp_path, lens=lens, progress=False)
    assert read_status(tmp_path).failed == {"RuntimeError: no luck today": 20}


def test_a_device_that_fails_for_good_ends_the_run_and_keeps_what_is_drawn(new_lens, tmp_path):
    lens = new_lens("sd")
    calls = itertools.count()

    def refuse(*_):
        if next(calls) >= 3 * 2:  # batches of two steps
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    hook = lens.pipeline.unet.register_forward_hook(refuse)
    experiment = make(seeds=list(range(12)))
    with pytest.raises(RunError, match=r"None of the last 20 images could be drawn: RuntimeError: CUDA"):
        run_sweep(experiment, tmp_path, lens=lens, progress=False)
    found = read_status(tmp_path)
    assert (found.done, sum(found.failed.values()), found.to_do) == (12, 20, 40)
    hook.remove()
    assert run_sweep(experiment, tmp_path, lens=lens, progress=False, retry_failed=True).left == 0
    assert read_status(tmp_path).done == 72


def test_a_prompt_that_fails_in_many_batches_ends_no_run(new_lens, tmp_path):
    lens = new_lens("sd")
    bad = lens.pipeline.tokenizer("a bad word").input_ids

    def refuse(_module, arguments):
        if arguments[0][0, : len(bad) - 1].tolist() == bad[:-1]:
            raise RuntimeError("no such word")

    lens.pipeline.text_encoder.register_forward_pre_hook(refuse)
    experiment = make(
        prompts=["a red fox", "a bad word", "a blue car"],
        interventions=[["keep(red)"]],  # which the last prompt lacks: an error of its own
        layers=[0],
        seeds=list(range(24)),
    )
    summary = run_sweep(experiment, tmp_path, lens=lens, progress=False)
    assert summary.drawn == 24 and sorted(summary.failed.values()) == [24, 24]


def test_a_picture_that_is_none_is_a_row_with_its_reason(new_lens, tmp_path):
    lens = new_lens("sd")
    with torch.no_grad():
        lens.pipeline.vae.decoder.conv_out.weight.zero_()
        lens.pipeline.vae.decoder.conv_out.bias.fill_(-9)
    assert run_sweep(make(), tmp_path, lens=lens, progress=False).drawn == 18
    table = read(tmp_path)
    assert table["image"].isna().all() and set(table["missing"]) == {"black: every pixel is zero"}
    assert read_status(tmp_path).missing == {"black: every pixel is zero": 18}
    assert export_run(tmp_path, tmp_path / "out") == 0


def test_metadata_of_a_name_that_is_taken_is_refused(draw, tmp_path):
    with pytest.raises(ExperimentError, match="have a column 'seed', which every run has"):
        draw(make(prompts=[{"prompt": "a fox", "seed": 3}]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_encoders_and_readouts(new_lens, tmp_path):
    experiment = make(
        encoders=["all", "text_encoder_2"], readouts=["native", "final"], layers=[0, "native"], seeds=[0]
    )
    run_sweep(experiment, tmp_path, lens=new_lens("sdxl"), progress=False)
    table = read(tmp_path)
    counts = table.groupby(["encoder", "readout"]).size()
    assert counts.to_dict() == {
        (encoder, readout): 4 for encoder in ("all", "text_encoder_2") for readout in ("native", "final")
    }
    assert table[table["identical"]]["readout"].unique().tolist() == ["native"]


def test_copies_of_an_image_make_no_device_faster(new_lens, tmp_path):
    experiment = make(
        prompts=["a red fox"], encoders=["all", "text_encoder_2"], layers=["native"], seeds=[0]
    )
    run_sweep(experiment, tmp_path, lens=new_lens("sdxl"), progress=False)
    table = pd.read_parquet(tmp_path / "images")
    assert sorted(table["seconds"] > 0) == [False, True]
    (rate,) = read_status(tmp_path).rate.values()
    assert rate == pytest.approx(1 / table["seconds"].max())


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_exported_files_are_the_images(draw, tmp_path, kind):
    draw(make(prompts=["a / red fox", "é"], machine={"batch_size": 4, "image": kind}), tmp_path / "run")
    assert export_run(tmp_path / "run", tmp_path / "png") == 18
    listed = pd.read_csv(tmp_path / "png/metadata.csv")
    assert len(listed) == 18 and set(listed["prompt"]) == {"a / red fox", "é"}
    assert export_run(tmp_path / "run", tmp_path / "web", "webdataset") == 18
    folder = datasets.load_dataset(
        "webdataset", data_files=f"{tmp_path}/web/*.tar", cache_dir=str(tmp_path / "c")
    )
    packed = {row["json"]["cell"]: row["png"] for row in folder["train"]}
    for row in read(tmp_path / "run").itertuples():
        expected = np.asarray(Image.open(io.BytesIO(row.image["bytes"])).convert("RGB"))
        (name,) = listed[listed["cell"] == row.cell]["file_name"]
        assert np.array_equal(Image.open(tmp_path / "png" / name), expected)
        assert np.array_equal(packed[row.cell], expected)
    with pytest.raises(InputError, match="is not empty; choose a new folder"):
        export_run(tmp_path / "run", tmp_path / "png")


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(RunError, match=r"is no run: it holds no manifest\.json"):
        read_status(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(RunError, match="is of format 1, and this version of the package reads format 2"):
        read_status(tmp_path)
