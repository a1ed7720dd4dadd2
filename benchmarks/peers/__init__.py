"""The peers that are measured, each by a program that runs in an environment of its own; see the .txt files."""
