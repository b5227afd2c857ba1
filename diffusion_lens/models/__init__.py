"""Models: text encoders, pipelines, hooks, and one door to load them by."""
