"""The policy of a tool that is in force now: what its code declares, under what its operators have set.

Looked up anew for each attempt, so that a change works on live runs. Layers, the later ones above the earlier: the
declaration, `holdfast.toml`, the command line, the operator's desk.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from holdfast.core.override import Overrides, Settings, laid_over, merged
from holdfast.core.policy import Policy
from holdfast.errors import PolicyInvalid
from holdfast.runtime.spec import Spec, check_cached

_log = logging.getLogger("holdfast")


def _laid_over(spec: Spec, settings: Settings) -> Policy:
    policy = laid_over(spec.policy, settings, tool=spec.name)
    if policy.fallback != spec.policy.fallback:
        check_cached(spec, policy.fallback)
    return policy


class Policies:
    """What operators have set, and what follows from it for each tool."""

    def __init__(self, file: Overrides | None = None, flags: Overrides | None = None) -> None:
        self._file: Overrides = file or {}
        self._flags: Overrides = flags or {}
        self._desk: Overrides = {}
        self._settle()

    @property
    def desk(self) -> Overrides:
        """What was set at the operator's desk."""
        return self._desk

    @desk.setter
    def desk(self, overrides: Overrides) -> None:
        self._desk = overrides
        self._settle()

    def _settle(self) -> None:
        self._in_force = merged(self._file, self._flags, self._desk)
        self._found: dict[str, tuple[Spec, Policy]] = {}

    def of(self, spec: Spec) -> Policy:
        """The policy in force of this tool; `PolicyInvalid` when what is set does not fit what it declares."""
        settings = self._in_force.get(spec.name) if self._in_force else None
        if not settings:
            return spec.policy
        found = self._found.get(spec.name)
        if found is None or found[0] is not spec:
            policy = self._fitting(spec, settings)
            found = self._found[spec.name] = (spec, policy)
        return found[1]

    def _fitting(self, spec: Spec, settings: Settings) -> Policy:
        """What was set at the desk for a tool that it does not fit is left out: live runs go on as before."""
        try:
            return _laid_over(spec, settings)
        except PolicyInvalid as unfit:
            if spec.name not in self._desk:
                raise
            _log.warning("what the desk sets of %s does not fit it, and was left out: %s", spec.name, unfit)
            below = merged(self._file, self._flags).get(spec.name, {})
            return _laid_over(spec, below)

    def check(self, specs: Iterable[Spec]) -> None:
        """Raise `PolicyInvalid` when what is set does not fit one of these."""
        for spec in specs:
            self.of(spec)

    def in_force(self, spec: Spec) -> Spec:
        """What was declared, with the policy in force in place of the declared one."""
        policy = self.of(spec) if self._in_force else spec.policy
        return spec if policy is spec.policy else replace(spec, policy=policy)

    def names(self) -> frozenset[str]:
        """The tools of which something is set."""
        return frozenset(self._in_force)
