"""The base of everything declared in a specification: immutable, strict, hashed by content."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)

_HASHING = "content hash"


class Frozen(BaseModel):
    """Base of all declared values: immutable, and a name that is not known is an error.

    ``later`` names fields that came after the first release. They are left out of the content
    hash while they have their default, so that what was frozen before them keeps its hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _hashed_without_unset(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if info.context != _HASHING:
            return values
        fields = type(self).model_fields
        unset = {
            name
            for name in self.later
            if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
        return {name: value for name, value in values.items() if name not in unset}

    def content_hash(self) -> str:
        """SHA-256 (64 hex digits) of the canonical JSON: sorted keys, no spaces, UTF-8."""
        declared = self.model_dump(mode="json", context=_HASHING)
        canonical = json.dumps(declared, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()
