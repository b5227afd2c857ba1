"""A run as data: the experiment, its plan, its table of images and its store."""
