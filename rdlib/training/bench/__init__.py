"""How fast the updates run here, against this machine's own limits."""
