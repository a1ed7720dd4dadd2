"""Effects that only show at size. Each module is run by hand, as its docstring says, and prints its figures."""
