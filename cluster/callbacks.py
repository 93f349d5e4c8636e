"""Callbacks of the classic drivers may be overridden under either spelling.

``resourceOffers`` is the name of the interface; a class that defines ``resource_offers`` instead
means the same.
"""

import re
from typing import Any


def snake_case(name: str) -> str:
    """``resourceOffers`` as ``resource_offers``."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()


class EitherSpelling:
    """Base of the callback classes: a snake_case override stands in for the camelCase name."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in dir(cls):
            spelled = snake_case(name)
            if spelled != name and spelled in cls.__dict__ and name not in cls.__dict__:
                setattr(cls, name, cls.__dict__[spelled])


__all__ = ["EitherSpelling", "snake_case"]
