"""The use cases: each builds a command or a query, passes it on, and returns the result."""
