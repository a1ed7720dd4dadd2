"""The sub-commands of the command line. Each parses, calls and prints; what it does stands below."""
