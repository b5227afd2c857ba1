"""What maps and features are fitted on by default is not what an experiment draws by default."""

from pathlib import Path

from diffusion_lens.cli.captions import read_captions
from diffusion_lens.learning.train_tuned import captioned_scenes
from diffusion_lens.runs.experiment import Captions, Prompts
from diffusion_lens.runs.prompts import read_prompts


def test_captions_of_a_fit_are_not_those_of_an_experiment():
    drawn = [one.prompt for one in read_prompts(Prompts(captions=Captions(count=40)), Path())]
    fitted = read_captions("emoji", None, 40)
    assert fitted == captioned_scenes(40)[0] and len(fitted) == 40
    assert len(set(fitted) & set(drawn)) <= 4  # short captions can be equal by chance
