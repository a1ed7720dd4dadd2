"""The file of a whole database, and its two ways: out of a database and into one."""
