"""Where a pipeline computes, with its own record of hooks and with weights that are offloaded."""

import torch

from diffusion_lens.models.placement import computing_device


def test_a_pipeline_computes_where_its_weights_are_brought_to(new_lens):
    lens = new_lens("flux")
    lens("a cat", "native")  # leaves an empty record of hooks in the transformer
    pipe = lens.pipeline
    assert any(hasattr(module, "_diffusers_hook") for module in pipe.transformer.modules())
    assert computing_device(pipe) == torch.device("cpu") == pipe._execution_device
    pipe.transformer.enable_group_offload(torch.device("cpu"), offload_type="leaf_level")
    hooks = [getattr(module, "_diffusers_hook", None) for module in pipe.transformer.modules()]
    groups = [one.get_hook("group_offloading") for one in hooks if one is not None]
    elsewhere = torch.device("meta")  # as if it were a GPU
    for group in filter(None, groups):
        group.config.onload_device = elsewhere
    assert computing_device(pipe) == elsewhere == pipe._execution_device


def test_parts_without_weights_do_not_count(tiny_lens):
    pipe = tiny_lens("cosmos2").pipeline
    assert not list(pipe.safety_checker.parameters())
    assert computing_device(pipe) == torch.device("cpu")
