"""Where a run is drawn: in this process, in several, or on a Ray cluster."""
