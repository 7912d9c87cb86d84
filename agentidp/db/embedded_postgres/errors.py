"""What can go wrong with the embedded PostgreSQL."""


class EmbeddedPostgresError(RuntimeError):
    """One sentence for a person; `log` is what PostgreSQL printed about it, if anything."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log
