"""PostgreSQL: any number of servers share the database."""
