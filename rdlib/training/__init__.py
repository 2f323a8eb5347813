"""From a request to a record."""
