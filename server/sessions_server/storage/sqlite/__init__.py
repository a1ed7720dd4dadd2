"""SQLite: one process has the database to itself."""
