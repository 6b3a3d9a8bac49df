"""The chat on the full screen."""
