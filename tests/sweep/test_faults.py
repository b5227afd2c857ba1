"""Whatever happens to a process or its disk, the run ends up as if nothing had."""

import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

from tests.sweep.helpers import make, read, same

DRAW = "run_sweep(Experiment.from_toml(text), out, lens=lens, progress=False, part_rows=4)"


def test_killed_at_any_moment_the_finished_table_is_that_of_an_undisturbed_run(zygote, tmp_path):
    prompts = [f"{count} red foxes" for count in ("two", "three")]
    text = make(prompts=prompts, layers=["all"], seeds=list(range(4))).to_toml()
    start = time.monotonic()
    code, output = zygote.run(DRAW, text=text, out=str(tmp_path / "whole"))
    whole = time.monotonic() - start
    assert code == 0, output
    rng = random.Random(0)
    kills = 0
    while kills < 12:
        child = zygote.start(DRAW, text=text, out=str(tmp_path / "killed"))
        time.sleep(rng.uniform(0, whole / 6))
        child.signal(signal.SIGKILL)
        code, output = child.wait()
        if code == 0:  # it was faster: all is drawn, and the next ones are killed while they look
            kills += rng.random() < 0.5
        else:
            assert code == -signal.SIGKILL, output
            kills += 1
    code, output = zygote.run(DRAW, text=text, out=str(tmp_path / "killed"))
    assert code == 0, output
    table = read(tmp_path / "killed")
    assert len(table) == 2 * 5 * 4 and table["cell"].is_unique
    same(table, read(tmp_path / "whole"))
    assert not list((tmp_path / "killed").rglob(".*.partial"))


def test_two_processes_on_one_run_are_told_and_two_shards_are_not(zygote, tmp_path):
    text, out = make().to_toml(), str(tmp_path / "run")
    hold = """
with open_run(Experiment.from_toml(text), out, shard=tuple(shard), lens=lens):
    Path(out, "held").touch()
    time.sleep(60)
"""

    def held(shard: tuple[int, int]):
        (tmp_path / "run/held").unlink(missing_ok=True)
        child = zygote.start(hold, text=text, out=out, shard=shard)
        while not (tmp_path / "run/held").exists():
            assert child.runs(), child.wait()
            time.sleep(0.01)
        return child

    first = held((1, 1))
    code, output = zygote.run(DRAW, text=text, out=out)
    assert code == 2
    assert f"{out} is being drawn by another process. Wait for it or stop it" in output
    first.signal(signal.SIGKILL)
    first.wait()
    one = held((1, 2))
    shard = "run_sweep(Experiment.from_toml(text), out, lens=lens, progress=False, shard=(2, 2))"
    code, output = zygote.run(shard, text=text, out=out)
    assert code == 0, output
    code, output = zygote.run(DRAW, text=text, out=out)
    assert code == 2 and "as 1 of 2 shards, and this one was told 1 of 1" in output
    one.signal(signal.SIGKILL)
    one.wait()


def test_ctrl_c_stops_after_the_batch_and_the_rest_is_drawn_later(zygote, tmp_path):
    text, out = make(seeds=list(range(8))).to_toml(), str(tmp_path / "run")
    stop = """
seen = []
def press(*_):
    seen.append(1)
    if len(seen) == 3:
        os.kill(os.getpid(), number)
lens.pipeline.unet.register_forward_hook(press)
print(run_sweep(Experiment.from_toml(text), out, lens=lens, progress=False))
"""
    for number in (signal.SIGINT, signal.SIGTERM):
        code, output = zygote.run(stop, text=text, out=out, number=int(number))
        assert code == 0 and "stopped=True" in output, output
        assert "drawn=8, " in output  # the signal came in the first step of the second batch
    assert len(read(out)) == 16
    code, output = zygote.run(DRAW, text=text, out=out)
    assert code == 0, output
    assert read(out)["cell"].is_unique and len(read(out)) == 2 * 3 * 8


def test_a_full_disk_is_told_and_gone_on_from(zygote, tmp_path):
    text, out = make().to_toml(), str(tmp_path / "run")
    full = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
lens.pipeline.unet.register_forward_hook(
    lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, -1)))
run_sweep(Experiment.from_toml(text), out, lens=lens, progress=False, part_rows=4)
"""
    code, output = zygote.run(full, text=text, out=out)
    assert code == 2, output
    assert "OutputError" in output and "can't be written: File too large" in output
    assert "make room or choose another folder, and give the same command again" in output
    assert not list(Path(out).rglob(".*.partial"))
    assert zygote.run(DRAW, text=text, out=out)[0] == 0
    assert len(read(out)) == 18


def test_a_folder_that_may_not_be_written_is_told(zygote):
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        folder.chmod(0o555)
        become = "os.getuid() or os.setuid(65534)\n"  # root may write anywhere
        code, output = zygote.run(become + DRAW, text=make().to_toml(), out=str(folder / "run"))
        assert code == 2
        assert "OutputError" in output and "run can't be written: Permission denied" in output
    finally:
        shutil.rmtree(folder)


def test_memory_is_flat_in_the_number_of_images(zygote, tmp_path):
    draw = """
asked = Experiment.from_toml(text)
for seeds, shard in ((range(30), (1, 1)), (range(8_000), (1, 25))):
    experiment = dataclasses.replace(asked, seeds=tuple(seeds))
    summary = run_sweep(experiment, f"{out}-{len(seeds)}", shard=shard, lens=lens, progress=False)
    print(summary.drawn, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    sampler = {"steps": 1, "guidance": 1.0, "height": 16, "width": 16}
    text = make(
        prompts=["a red fox"], layers=["all"], sampler=sampler, machine={"batch_size": 64}
    ).to_toml()
    code, output = zygote.run(draw, text=text, out=str(tmp_path / "run"))
    assert code == 0, output
    (few, before), (many, after) = [
        map(int, line.split()) for line in output.splitlines() if line[0].isdigit()
    ]
    assert few == 150 and many >= 1_600
    assert after < 1.5 * before
