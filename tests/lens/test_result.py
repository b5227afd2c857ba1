"""Results: found by layer and seed, saved whole, opened by others' tools."""

import io
import resource

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from diffusion_lens import Result
from diffusion_lens.errors import InputError, OutputError
from diffusion_lens.files import write_whole
from diffusion_lens.lens.asked import make_reading
from diffusion_lens.lens.grid import contact_sheet
from diffusion_lens.text.reading import Reading
from diffusion_lens.text.sites import Site


@pytest.fixture(scope="module")
def result(emoji):
    return emoji(["a fox", "a red car at night"], [0, 3, "native"], [0, 1], steps=2, progress=False)


def test_an_image_is_found_by_layer_seed_and_prompt(result):
    assert result.image(6, 1, "a fox") is result.image("native", 1, "a fox")
    with pytest.raises(
        InputError, match=r"no image of layer 2, seed 0. There are layers 0, 3, 6, native and seeds 0, 1\."
    ):
        result.image(2, 0, "a fox")
    with pytest.raises(InputError, match=r"Prompt 'a dog' is not in this result"):
        result.image(0, 0, "a dog")
    with pytest.raises(InputError, match=r"Prompt None is not in this result. Name one of"):
        result.image(0, 0)


def test_a_layer_is_itself_also_where_parts_of_its_block_are_drawn(emoji):
    drawn = emoji("a fox", [0, "6.attn", "6.mlp", 6], steps=1, progress=False)
    assert repr(drawn) == "Result(4 images: 1 prompt, 4 layers, 1 seed)"
    assert drawn.image(6) is drawn.image("native") and drawn.image(6) is not drawn.image("6.attn")
    with pytest.raises(InputError, match=r"There are layers 0, 6, 6\.attn, 6\.mlp, native and seeds 0\."):
        drawn.image(3)
    parts = Result(drawn.table[drawn.table["site"].str.contains(".", regex=False)], {})
    with pytest.raises(InputError, match=r"no image of layer 6, .* are layers 6\.attn, 6\.mlp and"):
        parts.image(6)
    assert drawn.grid(layers=["6"]).size == drawn.grid(layers=[6]).size
    with pytest.raises(InputError, match=r"There are: 0; 6\.attn; 6\.mlp; 6, native\."):
        drawn.grid(layers=[2])


def test_a_table_of_no_images_is_refused(result, tmp_path):
    result.save_table(tmp_path / "all.parquet")
    pd.read_parquet(tmp_path / "all.parquet").iloc[:0].to_parquet(tmp_path / "none.parquet")
    with pytest.raises(InputError, match=r"none\.parquet holds no image\. Give"):
        Result.load(tmp_path / "none.parquet")


def test_save_and_load_round_trip(result, tmp_path):
    folder = result.save(tmp_path / "deep" / "fox")
    assert sorted(path.name for path in folder.iterdir()) == [
        "grid.png",
        "images.parquet",
        "states-text_encoder.safetensors",
    ]
    again = Result.load(folder)
    meta = [name for name in result.table if name != "image"]
    pd.testing.assert_frame_equal(again.table[meta], result.table[meta], check_dtype=False)
    for one, other in zip(again.table["image"], result.table["image"], strict=True):
        assert np.array_equal(one, other)
    states = again.states["text_encoder"]
    assert states.states.equal(result.states["text_encoder"].states)
    assert np.array_equal(again.grid(), result.grid())


def test_what_exists_is_kept_unless_allowed(result, tmp_path):
    result.save(tmp_path)
    with pytest.raises(OutputError, match=r"grid.png exists. Choose another path, or allow"):
        result.save(tmp_path)
    result.save(tmp_path, overwrite=True)


def test_a_folder_is_not_named_as_a_picture(result, tmp_path):
    with pytest.raises(OutputError, match=r"fox\.png would be a folder.*grid\.png.*Leave \.png out"):
        result.save(tmp_path / "fox.png")
    assert not list(tmp_path.iterdir())
    result.save(tmp_path / "v1.0")


def test_a_folder_that_can_not_be_written_is_said_before_any_work(result, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"can't be written: .* Choose a path in a folder"):
        result.save(tmp_path / "file" / "below")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_that_is_not_finished_leaves_nothing_behind(tmp_path, error):
    def write(file):
        file.write(b"half of it")
        raise error

    with pytest.raises(error):
        write_whole(tmp_path / "grid.png", write)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_message_and_what_was_saved_stays(result, tmp_path):
    result.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OutputError, match="could not be written: File too large"):
            result.save(tmp_path, overwrite=True)
        with pytest.raises(OutputError, match="could not be written"):
            result.save_table(tmp_path / "images.parquet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_cut_file_is_one_clear_message(result, tmp_path):
    result.save(tmp_path)
    path = tmp_path / "images.parquet"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="holds no whole result"):
        Result.load(tmp_path)
    with pytest.raises(InputError, match=r"There is no .*nowhere\. Name the folder of a run"):
        Result.load(tmp_path / "nowhere")


def test_a_file_of_images_opens_and_another_is_one_clear_message(result, tmp_path):
    result.save_table(tmp_path / "cat.parquet")
    assert np.array_equal(Result.load(tmp_path / "cat.parquet").grid(), result.grid())
    (tmp_path / "cat.csv").write_text("prompt,layer")
    with pytest.raises(InputError, match=r"cat.csv holds no whole result .* or the folder of a run"):
        Result.load(tmp_path / "cat.csv")
    pd.DataFrame({"prompt": ["a"]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(InputError, match="no table of images: it has no column layer, native, seed"):
        Result.load(tmp_path / "other.parquet")


def test_the_parquet_holds_images_as_datasets_lays_them_out(result, tmp_path):
    result.save_table(tmp_path / "table.parquet")
    table = pq.read_table(tmp_path / "table.parquet")
    assert str(table.schema.field("image").type) == "struct<bytes: binary, path: string>"
    assert b'"image": {"_type": "Image"}' in table.schema.metadata[b"huggingface"]
    first = table.column("image")[0].as_py()
    assert np.array_equal(Image.open(io.BytesIO(first["bytes"])), result.table["image"][0])


def test_changes_are_zero_at_the_last_layer_and_known_in_between(result):
    changes = result.changes()
    one = changes[(changes["prompt"] == "a fox") & (changes["seed"] == 1)].set_index("layer")
    images = {layer: np.asarray(result.image(layer, 1, "a fox")) / 255.0 for layer in (0, 3, 6)}
    assert np.isnan(one.loc[0, "from_previous"])
    assert one.loc[3, "from_previous"] == pytest.approx(np.abs(images[3] - images[0]).mean(), abs=1e-6)
    assert one.loc[0, "from_last"] == pytest.approx(np.abs(images[6] - images[0]).mean(), abs=1e-6)
    assert one.loc[6, "from_last"] == 0


def test_images_that_are_read_in_different_ways_are_never_compared_or_taken_for_each_other(new_lens):
    lens = new_lens("sdxl")
    readings = [
        Reading(encoder=name, site=Site(layer)) for name in lens.conditioner.slots for layer in (0, 1)
    ]
    both = lens("a fox", [*readings, "0", "1", "1.mlp"], 3, progress=False)
    changes = both.changes()
    first = changes["site"].isin(["0", "1.mlp"])
    assert changes["from_previous"].isna().equals(first), "each encoder, all of them, and a part"
    alone = lens("a fox", readings[:2], 3, progress=False).changes()
    kept = changes[changes["encoder"] == "text_encoder"]
    assert kept["from_previous"].iloc[1] == alone["from_previous"].iloc[1] > 0
    with pytest.raises(
        InputError, match="3 images of layer 1, seed 3, with different encoder: 'all', 'text_enc"
    ):
        both.image(1, 3)


def test_an_image_of_the_native_layer_read_in_two_ways_is_no_missing_one(new_lens):
    readings = [make_reading(readout=readout) for readout in ("native", "none")]
    both = new_lens("sd")("a fox", readings, progress=False)
    assert both.table["native"].all() and set(both.table["layer"]) == {4}
    with pytest.raises(InputError, match="There are 2 images of layer 4, seed 0, with different readout"):
        both.image(4)


def test_the_grid_shows_every_image_at_its_place(result):
    grid = np.asarray(result.grid("a fox", cell=64))
    places = []
    for seed in (0, 1):
        for layer in (0, 3, 6):
            image = np.asarray(result.image(layer, seed, "a fox"))
            windows = np.lib.stride_tricks.sliding_window_view(grid, image.shape)[:, :, 0]
            rows, columns = np.nonzero((windows[..., 32, :, :] == image[32]).all((-1, -2)))
            places += [(int(rows[0]), int(columns[0]))]
    assert places == sorted(places)  # rows are seeds, columns are layers
    assert len({row for row, _ in places}) == 2 and len({column for _, column in places}) == 3
    assert result._repr_png_().startswith(b"\x89PNG")


def test_a_label_with_line_breaks_is_drawn():
    plain, broken = (
        contact_sheet([[None], [None]], [text, "a car"], ["0"], title=text, captions=[[text], [""]])
        for text in ("a fox on grass", "a fox\non\r\n grass")
    )
    assert plain.tobytes() == broken.tobytes()


def test_a_sheet_of_nothing_but_missing_images_still_draws():
    sheet = contact_sheet([[None, None]], ["seed 0"], ["0", "1"], title="a very " * 60)
    assert sheet.width > 0
