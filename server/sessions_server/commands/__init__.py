"""The subcommands of the command line. Each parses, calls and prints; lower layers do the work."""
