"""The table of pipeline families: one row by class of diffusers, in a module by kind of text encoder.

Source of each row: `encode_prompt` of the class in diffusers 0.42.
"""
