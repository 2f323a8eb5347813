"""rdlib: batched offline reinforcement learning with Representation Distinction."""

__version__ = "0.1.0"
