"""The sub-commands of the command line. Each parses, calls and prints; the lower layers do the work."""
