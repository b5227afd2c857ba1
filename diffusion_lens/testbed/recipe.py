"""The recipe: every stage of the embedded models in order, within a budget of minutes, resumable.

    diffusion-lens testbed train --recipe all --minutes 480 --folder FOLDER
    ... --resume      goes on where the last run of the same recipe stopped, with what is left of its budget
    ... --go-on       from each model's own weights in the package, without graft and distil
    ... --quick       tiny denoisers and a few steps of each stage: what the recipe does, not what it can

`FOLDER` gets `vae/`, one folder for each model in diffusers format, and `recipe.json`: which recipe this
is and how many seconds each part has had. The autoencoder, the CLIP and the denoiser to start from are
those of the package. Each denoiser is trained with the contrastive term at the full rate, and then without
it while the rate falls to zero, over the rest of its minutes.
What ships is thus a plain diffusion model. `emoji-clip` and `emoji-llm` start from the denoiser of `emoji`,
grafted (see `graft`), so that what takes a denoiser longest, what belongs to which of two objects, is there
already; the text tower of `emoji-clip` is made ready for that by the distil stage. So does `control`, whose
encoder is untrained, and which is no part of `all`.
"""

import json
import logging
import shutil
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from diffusion_lens.errors import InputError
from diffusion_lens.files import write_whole
from diffusion_lens.models.embedded import weights_of
from diffusion_lens.models.int8 import load_denoiser
from diffusion_lens.testbed.diffusion import DiffusionSettings
from diffusion_lens.testbed.distil import DistilSettings
from diffusion_lens.testbed.encoders import CaptionEncoder
from diffusion_lens.testbed.graft import CAPTIONS, graft
from diffusion_lens.testbed.joint import JointSettings
from diffusion_lens.testbed.train import hold_folder, train
from diffusion_lens.testbed.trainer import StageSettings, read_progress

__all__ = ["RECIPES", "Part", "Recipe", "plan", "run_recipe"]

log = logging.getLogger(__name__)
STATE = "recipe.json"
CONTROL = "control"  # a denoiser on an untrained encoder, which the package has no weights of
CONTRAST = 2.0  # weight of the contrastive term
# of a model's minutes; its scenes are pairs alone, and what is rare is forgotten meanwhile
CONTRAST_SHARE = 0.35
# at the rate of a denoiser that begins, a trained one forgets what takes 100,000 samples to learn again
RATE = 2e-4
CONTRAST_RATE = 6e-4  # where it has yet to leave a saddle of its loss
JOINT_CONTRAST_RATE = 3e-4  # at 6e-4 the text transformer's states go to pieces, and the loss rises
QUICK_STEPS, QUICK_CAPTIONS = 3, 32  # of each stage; of a graft
QUICK: dict[str, Any] = {"channels": (32, 32), "chunk": 16, "batch": 8, "warmup": 2, "passes": 1}


@dataclass(frozen=True)
class Part:
    """One stage of one model, or a part of that stage.

    Attributes:
        model: an embedded model, and the folder that it is trained in.
        title: what is done in it.
        stage: a key of `train.STAGES`.
        share: of the recipe's minutes, in relation to the other parts.
        settings: of the stage.
        last: the rate falls to zero.
    """

    model: str
    title: str
    stage: str
    share: float
    settings: StageSettings
    last: bool = False

    @property
    def name(self) -> str:
        """What the recipe's file calls it."""
        return f"{self.model}/{self.title}"


def _denoiser(
    model: str, stage: str, settings: DiffusionSettings, rate: float = CONTRAST_RATE
) -> tuple[Part, Part]:
    """The two parts in which a denoiser is trained; `rate` is of the first."""
    contrast = replace(settings, contrast=CONTRAST, rate=rate)
    return (
        Part(model, "contrast", stage, CONTRAST_SHARE, contrast),
        Part(model, "plain", stage, 1 - CONTRAST_SHARE, settings, last=True),
    )


RECIPES: dict[str, tuple[Part, ...]] = {
    "emoji": _denoiser("emoji", "diffusion", DiffusionSettings.of("minilm", rate=RATE)),
    "emoji-clip": (
        Part("emoji-clip", "distil", "distil", 0.5, DistilSettings()),
        *_denoiser("emoji-clip", "joint", JointSettings(rate=RATE), JOINT_CONTRAST_RATE),
    ),
    "emoji-llm": _denoiser("emoji-llm", "diffusion", DiffusionSettings.of("smollm2", rate=RATE)),
}
RECIPES["all"] = tuple(part for parts in list(RECIPES.values()) for part in parts)
RECIPES[CONTROL] = _denoiser(CONTROL, "diffusion", DiffusionSettings.of("random", rate=RATE))


@dataclass
class Recipe:
    """A recipe in a folder: what was asked for, and how far it has come; kept in `recipe.json`.

    Attributes:
        name: a key of `RECIPES`.
        minutes: of training, all parts together.
        quick: tiny denoisers, a few steps.
        go_on: each model starts from its own weights in the package.
        done: seconds of training of each part that has ended, by its name.
    """

    name: str
    minutes: float
    quick: bool = False
    go_on: bool = False
    done: dict[str, float] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        write_whole(folder / STATE, lambda file: file.write(json.dumps(asdict(self), indent=1).encode()))

    @classmethod
    def load(cls, folder: Path) -> "Recipe":
        """Read what `save` wrote.

        Raises:
            InputError: there is none, or it is damaged.
        """
        path = folder / STATE
        if not path.exists():
            raise InputError(f"nothing to resume: no {path}; start without --resume")
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error}); start in another folder") from error


def plan(recipe: Recipe, folder: Path) -> list[tuple[Part, float]]:
    """The parts that are left, in order, each with the minutes that it still has."""
    parts = [part for part in RECIPES[recipe.name] if not (recipe.go_on and part.stage == "distil")]
    minute = recipe.minutes / sum(part.share for part in parts)
    return [
        (part, max(0.0, part.share * minute - _spent(recipe, part, folder) / 60))
        for part in parts
        if part.name not in recipe.done
    ]


def _spent(recipe: Recipe, part: Part, folder: Path) -> float:
    """Seconds that a part has had: those of its stage's checkpoint, less those of the part before it."""
    path = folder / part.model / f"{part.stage}.safetensors"
    if not path.exists():
        return 0.0
    same = (
        other.name
        for other in RECIPES[recipe.name]
        if (other.model, other.stage) == (part.model, part.stage)
    )
    ended = sum(recipe.done.get(name, 0.0) for name in same)
    return max(0.0, read_progress(path).seconds - ended)


def run_recipe(
    name: str,
    folder: str | Path,
    minutes: float,
    resume: bool = False,
    *,
    quick: bool = False,
    go_on: bool = False,
    workers: int = 0,
    device: str | None = None,
) -> Recipe:
    """Train the models of a recipe, one after the other.

    Args:
        name: a key of `RECIPES`.
        folder: of the recipe.
        minutes: of training, in all; with `resume`, the recipe's own are kept.
        resume: go on with what is left.
        quick: tiny denoisers and `QUICK_STEPS` of each part.
        go_on: start from each model's own weights in the package; `quick` denoisers are of another size.
        workers: processes that render scenes ahead.
        device: "cpu" or "cuda"; the GPU if there is one.

    Raises:
        InputError: an unknown recipe, a folder of another one, or one in which another process trains.
        OutputError: the disk is full; the last checkpoint stays.
    """
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    where = Path(folder)
    with hold_folder(where, "recipe"):
        recipe = _begin(Recipe(name, minutes, quick, go_on), where, resume)
        for part, left in plan(recipe, where):
            log.info("%s: %.1f minutes", part.name, left)
            _train_part(part, left, recipe, where, workers, device)
    return recipe


def _begin(asked: Recipe, folder: Path, resume: bool) -> Recipe:
    """The folder's recipe, or the one asked for with the package's autoencoder."""
    if asked.go_on and asked.name == CONTROL:
        raise InputError("the package has no weights of the control to go on from: leave out --go-on")
    if asked.quick and asked.go_on:
        raise InputError("--quick trains denoisers of another size than the package's: leave out --go-on")
    if resume:
        found = Recipe.load(folder)
        if replace(asked, minutes=found.minutes, done=found.done) != found:
            options = f"{' --quick' if found.quick else ''}{' --go-on' if found.go_on else ''}"
            raise InputError(
                f"{folder} holds the recipe {found.name}{options}: resume that, or give another folder"
            )
        return found
    if (folder / STATE).exists():
        raise InputError(f"{folder / STATE} exists: give --resume to go on, or another folder")
    with weights_of("emoji") as shipped:
        shutil.copytree(shipped.parent / "vae", folder / "vae", dirs_exist_ok=True)
    asked.save(folder)
    return asked


def _train_part(
    part: Part, minutes: float, recipe: Recipe, folder: Path, workers: int, device: str | None
) -> None:
    """Train one part for its minutes; the second of a model goes on with the checkpoint of the first."""
    where = folder / part.model
    path = where / f"{part.stage}.safetensors"
    changes: dict[str, Any] = {"workers": workers}
    options: dict[str, Any] = {"device": device}
    if recipe.quick:
        changes |= QUICK
        options["max_steps"] = QUICK_STEPS
    known = {field.name for field in fields(part.settings)}
    settings = replace(part.settings, **{name: changes[name] for name in changes.keys() & known})
    options["settings"] = settings
    minutes = max(minutes, 1e-6)  # 0 would only export
    if not part.last:
        start = None if path.exists() else _prepare(part, folder, recipe, device)
        train(part.stage, where, minutes, path.exists(), start=start, **options)
    else:
        train(part.stage, where, minutes, True, decay=True, **options)
    recipe.done[part.name] = _spent(recipe, part, folder)
    recipe.save(folder)


def _prepare(part: Part, folder: Path, recipe: Recipe, device: str | None) -> Path | None:
    """Put into the model's folder what its part needs; returns the folder of a denoiser to start from.

    Quick denoisers are of another size than the package's and start untrained, but for a grafted one.
    """
    where = folder / part.model
    where.mkdir(exist_ok=True)
    with weights_of("emoji") as emoji:
        if part.model == CONTROL:  # no embedded model: its folder is a whole pipeline
            shutil.copytree(emoji.parent / "vae", where / "vae", dirs_exist_ok=True)
        if part.model == "emoji-clip" and not (where / "text_encoder").exists():
            for name in ("text_encoder", "tokenizer", "image_encoder", "feature_extractor"):
                shutil.copytree(emoji.parent / part.model / name, where / name, dirs_exist_ok=True)
        trained = folder / "emoji" / "unet"
        if not isinstance(part.settings, DiffusionSettings):
            return None
        if recipe.quick and not (trained.exists() and part.model != "emoji"):
            return None
        origin = trained if trained.exists() else emoji / "unet"
        denoiser = load_denoiser(emoji.parent / part.model / "unet" if recipe.go_on else origin).float()
    if part.model != "emoji" and not recipe.go_on:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        old, new = (CaptionEncoder(kind, where, chosen) for kind in ("minilm", part.settings.encoder))
        denoiser = graft(denoiser, new, old, QUICK_CAPTIONS if recipe.quick else CAPTIONS)
    denoiser.save_pretrained(where / "start")
    return where / "start"
