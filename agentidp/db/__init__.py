"""Database connections, statements and migrations, and the embedded server."""
