"""How a contract suite reports a broken promise."""


def require(condition: bool, message: str) -> None:
    """Raise AssertionError unless the condition holds; unlike an assert statement also under `python -O`."""
    if not condition:
        raise AssertionError(message)
