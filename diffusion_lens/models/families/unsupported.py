"""Classes of diffusers with text that no family here fits, each with the reason."""

from collections.abc import Mapping

__all__ = ["UNSUPPORTED"]

_BY_REASON: Mapping[str, tuple[str, ...]] = {
    "makes sound, and no image": (
        "AceStepPipeline",
        "AudioLDM2Pipeline",
        "LongCatAudioDiTPipeline",
        "StableAudio3AudioToAudioPipeline",
        "StableAudio3InpaintPipeline",
        "StableAudio3Pipeline",
        "StableAudioPipeline",
    ),
    "takes no text embeddings in its `__call__`, only text": (
        "BlipDiffusionControlNetPipeline",
        "BlipDiffusionPipeline",
        "DreamLiteMobilePipeline",
        "DreamLitePipeline",
        "SanaWMPipeline",
        "WuerstchenDecoderPipeline",
    ),
    "is one of several stages, each with arguments of its own": (
        "KandinskyCombinedPipeline",
        "KandinskyV22CombinedPipeline",
        "WuerstchenCombinedPipeline",
        "WuerstchenPriorPipeline",
    ),
    "is one of two stages: give DiffusionLens(pipe) a StableCascadeCombinedPipeline, which has both": (
        "StableCascadeDecoderPipeline",
        "StableCascadePriorPipeline",
    ),
    "reads images together with the prompt in its encoder": (
        "HunyuanVideoImageToVideoPipeline",
        "JoyImageEditPipeline",
        "Kandinsky5I2IPipeline",
        "LongCatImageEditPipeline",
        "QwenImageEditInpaintPipeline",
        "QwenImageEditPipeline",
        "QwenImageEditPlusPipeline",
        "QwenImageLayeredPipeline",
        "VisualClozeGenerationPipeline",
        "ZImageOmniPipeline",
    ),
    "guides by parts of its own (`guider`), which encode the negative prompt": (
        "HunyuanImageRefinerPipeline",
        "HunyuanVideo15ImageToVideoPipeline",
        "HunyuanVideo15Pipeline",
        "MotifVideoImage2VideoPipeline",
        "MotifVideoPipeline",
    ),
    "is deprecated in diffusers": (
        "AltDiffusionImg2ImgPipeline",
        "AltDiffusionPipeline",
        "I2VGenXLPipeline",
        "UniDiffuserPipeline",
    ),
    "makes embeddings of images for another pipeline, and no image": ("FluxPriorReduxPipeline",),
    "looks for its tokens in the prompt itself": ("StableDiffusionAttendAndExcitePipeline",),
    "asks its denoiser for a setting that it does not have, and draws nothing in diffusers 0.42": (
        "ChromaInpaintPipeline",
    ),
    "draws images with transparency, of four channels": ("QwenImage21Pipeline",),
    "edits its own weights": ("StableDiffusionModelEditingPipeline",),
    "needs inverted latents": ("StableDiffusionPix2PixZeroPipeline",),
    "takes several prompts, one for each part of the video": ("LTXI2VLongMultiPromptPipeline",),
    "takes levels of noise in place of a number of steps": (
        "LTX2DFRPipeline",
        "LTX2DFRTemporalRefinePipeline",
    ),
    "draws videos of a high dynamic range, which images of 8 bits do not hold": ("LTX2HDRPipeline",),
    "takes no mask of its text embeddings in its `__call__`": ("Kandinsky6TI2VAPipeline",),
    "upscales the latents of another pipeline": ("StableDiffusionLatentUpscalePipeline",),
    "reads the tokens of its prompt in the denoiser itself, without a text encoder": ("OmniGenPipeline",),
}

UNSUPPORTED: Mapping[str, str] = {name: reason for reason, names in _BY_REASON.items() for name in names}
"""Why a class is refused, by class."""
