"""Slow and plain second versions, written from the papers, that rdlib is held to."""
