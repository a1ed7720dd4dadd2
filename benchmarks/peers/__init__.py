"""The libraries that ours is compared with, each run in a separate environment; see the .txt files."""
