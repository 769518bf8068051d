"""Work on tested networks beside each other."""

__all__: list[str] = []
