"""The file of a whole database: exporting to it and importing from it."""
