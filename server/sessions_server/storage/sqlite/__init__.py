"""SQLite: a single process uses the database."""
