"""What is asked of an image: checks, and the question sets they come from."""
