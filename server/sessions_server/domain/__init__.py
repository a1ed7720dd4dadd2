"""Sessions and their rules: pure values and functions, without I/O or awaits."""
