"""Files of other projects, read into a `Dataset`."""
