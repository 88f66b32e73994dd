"""Tiny random checkpoints in the layout of the published repositories."""
