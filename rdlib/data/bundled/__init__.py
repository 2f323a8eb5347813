"""The datasets that come with rdlib."""
