"""`diffusion-lens probe`: what linear probes read off a run's states, beside what its images show."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Device, Overwrite, Run, default
from diffusion_lens.cli.values import Seed
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.runs.images import RunImages
    from diffusion_lens.text.states import LayerStates

__all__ = ["probe"]


@verb(
    "probe",
    Topic.SCORE,
    examples=[
        "diffusion-lens probe runs/relations --out probed",
        "diffusion-lens probe runs/relations --of denoiser --step 10 --out probed-denoiser",
    ],
)
def probe(
    run: Run,
    /,
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    of: Literal["encoder", "denoiser"] = "encoder",
    step: int = 10,
    block: Annotated[str, default("its middle block", "BLOCK")] = "",
    scorer: str = "oracle",
    checks: Annotated[Path | None, default("those of the run", "FILE")] = None,
    folds: int = 5,
    least: int = 4,
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit linear probes on the encoder's states of a run's prompts, and compare them with its images.

    For each check, such as the colour of the first thing, a probe of each layer chooses among the facts
    that the prompts state. No prompt is read by a probe that was fitted on it. Layers at which the probe is
    right more often than the images are decodable and not drawn. The run must be scored.

    With --of denoiser the states are those of a block of the denoiser while it draws each layer, the mean
    over places. The images of one seed are drawn once more for it.

    Args:
        out: A folder. scores.csv has the answers, layers.csv the rates and what they say, and curves.png
            both on one axis.
        of: Whose states are read: those of the text encoder, or of the denoiser.
        step: The denoising step in which the denoiser is looked at, from 0.
        block: The path of the denoiser's module, such as up_blocks.1.
        scorer: The scorer whose answers on the images are compared.
        checks: A file of checks, as the run was scored with.
        folds: How many parts the prompts are cut into, each read by a probe of the others.
        least: How many prompts a fact needs to be probed.
        seed: The seed of the parts and of the shuffled control.
    """
    from diffusion_lens.files import check_outputs

    paths = check_outputs(out, ("scores.csv", "layers.csv", "curves.png"), overwrite=overwrite)
    if folds < 2 or least < 2:
        raise InputError(f"--folds is {folds} and --least is {least}; each is at least 2.")
    import pandas as pd

    from diffusion_lens.analysis.curves import curves
    from diffusion_lens.analysis.formats import write_csv
    from diffusion_lens.analysis.probe_run import beside_images, probe_checks
    from diffusion_lens.checks.assign import ask, read_given
    from diffusion_lens.figures.curves import draw_curves
    from diffusion_lens.figures.style import save
    from diffusion_lens.runs.images import RunImages
    from diffusion_lens.scoring import table as scores
    from diffusion_lens.sweep.resolve import load_lens

    images = RunImages(run)
    table = scores.read(run)
    drawn = table[(table["scorer"] == scorer) & (table["run"] == images.name)]
    if drawn.empty:
        there = table[["scorer", "run"]].drop_duplicates().itertuples(index=False)
        raise InputError(
            f"{run} holds no answers of {scorer} on images of plain layers. It holds those of "
            f"{'; '.join(f'{one.scorer} on {one.run}' for one in there)}."
        )
    experiment = images.plan.experiment
    if experiment.embeddings:
        raise InputError(f"The prompts of {run} hold learned embeddings, which probes are not fitted on.")
    machine = replace(experiment.machine, device=device or experiment.machine.device)
    lens = load_lens(replace(experiment, machine=machine))
    asked = ask(images.plan.prompts, read_given(checks) if checks is not None else ()).prompts
    encoders = [name for name in drawn["encoder"].unique() if name in lens.conditioner.encoders]
    if not encoders:
        raise InputError(
            f"{run} draws all encoders in step; probes are of one. Sweep with encoders = [NAME]."
        )
    if of == "encoder":
        states = lens.encode([one.prompt for one in asked])
    else:
        states = {name: _of_denoiser(lens, images, drawn, name, step, block) for name in encoders}
    probed = pd.concat(
        [
            probe_checks(
                states[name],
                asked,
                run=images.name,
                last=lens.conditioner.encoders[name].depth,
                folds=folds,
                least=least,
                seed=seed,
            )
            for name in encoders
        ],
        ignore_index=True,
    )
    found = pd.concat(
        [
            beside_images(probed[probed["encoder"] == name], drawn[drawn["encoder"] == name]).assign(
                encoder=name
            )
            for name in encoders
        ],
        ignore_index=True,
    )
    write_csv(probed, paths[0])
    write_csv(found, paths[1])
    shown = pd.concat([drawn[drawn["check"].isin(found["check"])], probed], ignore_index=True)
    figure = draw_curves(curves(shown, ["encoder", "check", "scorer"]), line="scorer", panel="check")
    save(figure, paths[2].with_suffix(""))
    for (encoder, check), part in found.groupby(["encoder", "check"], sort=False):
        said = [
            f"{what} at layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"
            for what in ("decodable, not drawn", "drawn, not decodable")
            if (layers := part.loc[part["found"] == what, "layer"].tolist())
        ]
        name = check if len(encoders) == 1 else f"{check} of {encoder}"
        say(f"{name}: {'; '.join(said) or 'as often decodable as drawn at all layers'}")
    say(f"scores   {paths[0]}\nlayers   {paths[1]}\nfigure   {paths[2]}")


def _of_denoiser(
    lens: "DiffusionLens", images: "RunImages", drawn: "pd.DataFrame", encoder: str, step: int, block: str
) -> "LayerStates":
    """What a block of the denoiser holds for each prompt and layer of a run, of the first seed of each."""
    from diffusion_lens.lens.denoiser_states import DrawnImage, denoiser_states

    experiment = images.plan.experiment
    layers = sorted(drawn.loc[drawn["encoder"] == encoder, "layer"].unique())
    first: dict[tuple[int, int], int] = {}
    readings = images.plan.resolved.readings
    for cell in images.plan.cells:
        reading = readings[cell.reading]
        plain = reading.reading.encoder == encoder and not reading.reading.interventions
        if plain and reading.layer in layers:
            first.setdefault((cell.prompt, reading.layer), cell.seed)
    prompts = images.plan.prompts
    given = [DrawnImage(prompts[prompt].prompt, layer, seed) for (prompt, layer), seed in first.items()]
    sampler = experiment.sampler
    return denoiser_states(
        lens,
        given,
        encoder=encoder,
        step=step,
        block=block,
        readout=experiment.readouts[0],
        steps=sampler.steps,
        guidance=sampler.guidance,
        height=sampler.height,
        width=sampler.width,
        negative_prompt=sampler.negative_prompt,
        scheduler=sampler.scheduler,
        **sampler.options,
    )
