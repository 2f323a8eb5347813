"""Many agents at once: random streams, stacked networks, optimisers, K updates per call."""
