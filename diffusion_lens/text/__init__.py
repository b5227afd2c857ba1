"""From a prompt to conditioning: sites, hidden states, readouts and learned embeddings."""
