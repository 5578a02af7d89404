"""The model of a disk after a power cut: what is safe is left, what is not may be lost in every way, nothing else."""

from __future__ import annotations

import random

import pytest

from holdfast.testing.disk import Change, Op
from holdfast.testing.power import SECTOR, Loss, Power

A, B, C = (letter * SECTOR for letter in (b"a", b"b", b"c"))


def after(*ops: Op) -> Power:
    power = Power()
    for op in ops:
        power.take(op)
    return power


def lefts(power: Power, loss: Loss = Loss.RANDOM, times: int = 300) -> set[tuple[tuple[str, bytes], ...]]:
    chance = random.Random(1)
    return {tuple(power.left(loss, chance).items()) for _ in range(times)}


def found(data: bytes) -> Op:
    return Op(Change.FOUND, "f", 1, data=data)


def written(data: bytes, offset: int = 0) -> Op:
    return Op(Change.WRITTEN, "f", 1, offset, data)


@pytest.mark.parametrize("loss", Loss)
def test_what_was_synced_is_left(loss: Loss) -> None:
    """Lost: a proof that calls a sound store wrong."""
    power = after(found(A), written(B), Op(Change.SYNCED, "f", 1))
    assert lefts(power, loss) == {(("f", B),)} and power.at_risk == set()


def test_what_was_not_synced_may_be_lost_sector_by_sector() -> None:
    """Lost: torn writes that nobody has tried."""
    power = after(found(A + A), written(B + B))
    assert power.at_risk == {"f"}
    assert lefts(power) == {(("f", first + second),) for first in (A, B) for second in (A, B)}
    assert lefts(power, Loss.NOTHING) == {(("f", B + B),)} and lefts(power, Loss.UNSYNCED) == {(("f", A + A),)}


def test_a_later_change_may_stay_without_an_earlier_one() -> None:
    """Lost: disks that write in an order of their own."""
    power = after(found(A + A), written(B), written(C, SECTOR))
    assert lefts(power, Loss.ONE) == {(("f", A + C),), (("f", B + A),)}
    assert lefts(power, Loss.ALL_BUT_ONE) == {(("f", A + C),), (("f", B + A),)}


def test_of_one_sector_no_later_change_stays_without_an_earlier_one() -> None:
    """Lost: a proof that fails over what no disk does: a sector is written as it was in memory at some time."""
    power = after(found(A), written(b"1", 0), written(b"2", 1))
    assert lefts(power) == {(("f", start + A[2:]),) for start in (b"aa", b"1a", b"12")}


def test_a_sector_that_never_arrived_reads_as_zeros_or_rubbish() -> None:
    """Lost: holes in files that grew."""
    power = after(found(A), written(B + C, SECTOR))
    holes = [data for ((_, data),) in lefts(power) if data.endswith(C) and data[SECTOR : 2 * SECTOR] != B]
    assert A + bytes(SECTOR) + C in holes and len(set(holes)) > 2


def test_a_length_may_be_changed_or_not() -> None:
    """Lost: files that were cut and come back long."""
    power = after(found(A + A), Op(Change.CUT, "f", 1, 10))
    assert lefts(power) == {(("f", A + A),), (("f", A[:10]),)}


def test_what_could_not_be_synced_stays_in_danger_until_its_page_is_written_again() -> None:
    """Lost: systems that forget what they could not write, and say that the next sync went well."""
    page = bytes(8 * SECTOR)
    failed, synced = Op(Change.SYNC_FAILED, "f", 1), Op(Change.SYNCED, "f", 1)
    power = after(found(page + page), written(A), failed, written(B, 8 * SECTOR), synced)
    second = B + page[SECTOR:]
    assert lefts(power) == {(("f", page + second),), (("f", A + page[SECTOR:] + second),)}
    power = after(found(page), written(A), failed, written(B, SECTOR), synced)
    assert lefts(power) == {(("f", A + B + page[2 * SECTOR :]),)} and power.at_risk == set()


def test_a_name_is_left_as_it_was_until_its_directory_is_synced() -> None:
    """Lost: a file that was synced and that nobody finds, or a removed one that comes back."""
    made = [Op(Change.MADE, "f", 1), written(A), Op(Change.SYNCED, "f", 1)]
    removed = Op(Change.REMOVED, "f", 1)
    directory = Op(Change.DIRECTORY_SYNCED)
    assert lefts(after(*made)) == {(), (("f", A),)}
    assert lefts(after(*made, directory)) == {(("f", A),)}
    assert lefts(after(*made, directory, removed)) == {(), (("f", A),)}
    assert lefts(after(*made, directory, removed, directory)) == {()}
