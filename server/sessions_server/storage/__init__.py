"""Stores sessions in SQLite or PostgreSQL: one implementation of the domain's storage ports for both."""
