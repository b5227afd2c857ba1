"""Sweeps: many prompts, layers and seeds, planned, drawn, kept and resumed as one run."""
