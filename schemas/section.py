"""What every part of params.yaml has in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.licences import LICENCES

Share = Annotated[float, Field(ge=0, le=1)]


def _known_licence(licence: str) -> str:
    if licence not in LICENCES:
        raise ValueError(
            f"licence {licence!r} is not known; it needs to be one of {', '.join(sorted(LICENCES))}, "
            "or a new entry in schemas/licences.py"
        )
    return licence


KnownLicence = Annotated[str, AfterValidator(_known_licence)]
"""A key of LICENCES."""


class Section(BaseModel):
    """Base of every part of params.yaml: frozen, no unknown keys, no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_number_is_a_yes(cls, data: Any) -> Any:
        named = {field.alias or name: field.annotation for name, field in cls.model_fields.items()}
        for key, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, bool) and named.get(key, bool) is not bool:  # pydantic would read 1 or 0
                raise ValueError(f"{key} is {value}; it needs another value than yes or no")
        return data
