"""The use cases: each builds a command or a query, hands it on, and answers what came of it."""
