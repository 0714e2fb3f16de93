"""What a name in the policy means in a target today, and whether that is still what it meant when first used."""

from __future__ import annotations

from dataclasses import dataclass

from worker.core.conditions import shown, similar
from worker.core.identity import ATTRIBUTE, Catalogue, CatalogueItem, Entitlement, Reference


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a name means today. `former` is what it meant before, where that is something else."""

    entitlement: Entitlement | None = None
    former: Entitlement | None = None
    problem: str = ""
    fix: str = ""


def meaning_of(target: str, reference: Reference, catalogue: Catalogue, bound: Entitlement | None) -> Meaning:
    """Of an attribute, whatever its value: what is to be looked up is its name."""
    found = catalogue.named(reference.kind, reference.name)
    name = f"{reference.kind} {shown(reference.name)}"
    if len(found) > 1:
        ids = ", ".join(sorted(item.id for item in found))
        problem = f"{target} has {len(found)} of {name} (ids {ids})"
        return Meaning(None, bound, problem, f"give the one you mean a name of its own in {target}")
    before = catalogue.item(bound.kind, bound.id) if bound else None
    if not found and before is not None:
        problem = f"{name} of {target} is now called {shown(before.name)}"
        return Meaning(None, bound, problem, f"write {shown(before.name)} if that is what you mean")
    if not found:
        fix = similar(reference.name, (i.name for i in catalogue.items if i.kind == reference.kind))
        return Meaning(None, bound, f"{target} has no {name}", fix or "correct the name")
    if bound and bound.id != found[0].id:
        fate = f"is now called {shown(before.name)}" if before else "is gone"
        problem = (
            f"{name} of {target} is not the one it was: that one (id {bound.id}) {fate}; this one has id {found[0].id}"
        )
        return Meaning(
            None, bound, problem, f"if you mean the new one, give it another name in {target} and write that"
        )
    if reference.kind == ATTRIBUTE:
        return _attribute(target, name, found[0])
    return _scoped(target, reference, found[0], catalogue, bound)


def _attribute(target: str, name: str, item: CatalogueItem) -> Meaning:
    """A filter that cannot be set and read back is none."""
    entitlement = Entitlement(ATTRIBUTE, item.id)
    if not item.closed:
        return Meaning(entitlement)
    problem = f"{name} of {target} cannot be given: {item.closed}"
    return Meaning(None, entitlement, problem, "give another attribute, or change this one there")


def _scoped(
    target: str, reference: Reference, item: CatalogueItem, catalogue: Catalogue, bound: Entitlement | None
) -> Meaning:
    """A project is named by its id, or by its display name where that is unique."""
    if reference.scope in ("", "g") or catalogue.item("scope", reference.scope):
        return Meaning(Entitlement(reference.kind, item.id, reference.scope))
    place = reference.scope.removeprefix("p:")
    found = catalogue.named("scope", place)
    if len(found) == 1 and (bound is None or bound.scope == found[0].id):
        return Meaning(Entitlement(reference.kind, item.id, found[0].id))
    if len(found) > 1:
        ids = ", ".join(sorted(shown(i.id.removeprefix("p:")) for i in found))
        problem = f"{target} has {len(found)} projects named {shown(place)}"
        return Meaning(None, bound, problem, f"write the id of the one you mean: {ids}")
    if found:
        problem = f"the project {shown(place)} of {target} is not the one it was ({bound.scope if bound else ''})"
        return Meaning(None, bound, problem, f"write its id, {shown(found[0].id.removeprefix('p:'))}, if you mean it")
    names = {i.id.removeprefix("p:") for i in catalogue.items if i.kind == "scope"}
    fix = similar(place, names | {i.name for i in catalogue.items if i.kind == "scope"})
    return Meaning(None, bound, f"{target} has no project {shown(place)}", fix or "correct the project")
