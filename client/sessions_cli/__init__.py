"""`sessions`: the command line, for people and for scripts. Built on the client's public names."""
