"""What tells the runs of a sweep apart, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from rdlib.training.request import PLUGIN_PREFIX, assigned


def differences(
    settings: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]],
    groups: Sequence[Any] | None = None,
) -> list[str]:
    """For each configuration and plug-in's configuration the fields whose value is not the same in all of
    its group (None: they are one group), as `beta=0.5,plugin.weight=0.1`."""
    flat = [{**c, **{PLUGIN_PREFIX + name: v for name, v in (p or {}).items()}} for c, p in settings]
    alike: dict[Any, list[dict[str, Any]]] = {}
    for group, fields in zip(groups or [None] * len(flat), flat, strict=True):
        alike.setdefault(group, []).append(fields)
    varied = {
        group: {
            name
            for fields in members
            for name in fields
            if any(m.get(name) != fields[name] for m in members)
        }
        for group, members in alike.items()
    }
    own = zip(groups or [None] * len(flat), flat, strict=True)
    return [assigned({name: v for name, v in fields.items() if name in varied[g]}) for g, fields in own]
