"""Words that a text encoder is taught from pictures."""
