"""The words that stand on a page, explained once for somebody who has never seen them."""

__all__ = ["GLOSSARY"]

GLOSSARY: dict[str, str] = {
    "layer": "The text encoder reads the prompt in steps. Layer 0 is its embedding, layer i is what block "
    "i gives out. Each image is drawn from one layer, as if the encoder ended there.",
    "native": "The layer that the pipeline itself reads. Its image is the one that the model would draw "
    "without this tool.",
    "seed": "The number from which the noise of an image is made. All layers of one seed start from the "
    "same noise, so that they differ by the layer alone.",
    "readout": "How a hidden state becomes what the denoiser reads: with the encoder's final norm "
    "(final), without it (none), or as the pipeline does it at its own layer (native).",
    "pooled": "Some pipelines also read one vector for the whole prompt. It is held at full depth (hold), "
    "made from the layer drawn (layer), or that of the empty prompt (empty).",
    "slot": "A place where the pipeline reads a hidden state. Most pipelines have one; some read several "
    "layers, and then the layer drawn can stand in all slots or in one of them.",
    "identical": "The image is the one that the untouched pipeline makes: read natively, with no change of "
    "the states and no approximation. It is computed from the record of the image, never set.",
    "check": "One yes/no question on an image, such as: is the cat purple? A check that depends on another "
    "one (there must be a cat) is wrong where that one is wrong.",
    "scorer": "Who answers the checks: an exact reader of the testbed's scenes (oracle), a model, people.",
    "rate": "The share of images at a layer on which a check is right, averaged over prompts.",
    "interval": "Where the rate would lie for other prompts of the same kind, with 95 % confidence unless "
    "said otherwise. It comes from drawing the prompts again with replacement.",
    "area": "The area under the curve of rates from the first to the last layer, 0 to 1. It is large where "
    "something is right early.",
    "layer of half": "The layer at which the rate has reached half of its value at the last layer.",
    "right before": "Of the images that are wrong at the last layer: the share that were right at an "
    "earlier one. The encoder had it, and lost it.",
    "planned contrast": "A comparison that was written down before any image was drawn. Its p value is "
    "adjusted only for the other planned ones (Holm).",
    "missing": "No answer: no image, or a question that does not apply. Missing is never counted as wrong.",
    "digest": "A short fingerprint of the model's weights and settings. Two runs with the same digest used "
    "the same model.",
}
