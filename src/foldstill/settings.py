"""What the tables of an experiment file have in common; pydantic is imported only where a file is read."""

from typing import Annotated, Any, ClassVar


class Settings:
    """Base of the frozen dataclasses that tables become: an unknown key is an error where a file is read."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


class ByKind:
    """Marks a union of settings as told apart by `kind`, so that an error is about the one that was meant."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic import Discriminator

        return handler.generate_schema(Annotated[source, Discriminator("kind")])
