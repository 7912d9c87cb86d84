"""The database: connections, statements, migrations, and the embedded server."""
