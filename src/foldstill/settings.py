"""What the tables of an experiment file have in common."""

from typing import ClassVar


class Settings:
    """Base of the frozen dataclasses that tables become: an unknown key is an error, raised by pydantic where a file is read."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
