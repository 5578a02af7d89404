"""What a store says of where it is, and what is done when it is elsewhere. Each test says what would be lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core import accept
from holdfast.core.heads import Status
from holdfast.errors import StoreDisplaced, UsageError
from holdfast.journal.adopt import adopt
from holdfast.journal.mount import Mount, mount_of, refuse_network
from holdfast.journal.place import Place, of_file, of_text
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Journal, Worker
from holdfast.testing.conformance_store import Store, step

NOW = 1_000_000.0


class Disk:
    """Stores of one test, by their paths."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened: list[Store] = []

    def store(self, path: Path | None = None) -> Store:
        """Open the store at `path`."""

        def open_engine(name: str, **how: object) -> Journal:
            return SqliteJournal(name, **how)  # type: ignore[arg-type]

        self.opened.append(Store(open_engine, str(path or self.path)))
        return self.opened[-1]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "here" / "store.db")
    made.path.parent.mkdir()
    yield made
    for store in made.opened:
        store.close()


def filled(world: Disk) -> Store:
    """A store with a run under way, one that has ended, and one that has not begun; closed."""
    store = world.store()
    store.write(store.hold("open"), [step(0), step(1)])
    ended = store.hold("ended")
    store.write(ended, status=Status.SUCCEEDED, wake_at=None)
    store.start("ready")
    store.journal.retire("w1")
    store.close()
    return store


def takes_writes(store: Store, run_id: str = "new") -> bool:
    """Whether the store takes a message; it reads in any case."""
    assert [event.body for event in store.journal.events("open")] == [b'{"ok":true}'] * 2
    assert store.journal.head("ended") is not None
    try:
        return store.start(run_id).is_stored
    except StoreDisplaced:
        return False


def copied(source: Path, target: Path) -> Path:
    """What `cp -a` does."""
    target.parent.mkdir(exist_ok=True)
    shutil.copy2(source, target)
    return target


# --- what is the same place ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "is_same"),
    [
        (Place("/a/s.db", 1, 7), True),
        (Place("/b/s.db", 1, 7), True),  # renamed, or seen through another mount or link
        (Place("/a/s.db", 2, 7), True),  # the machine was started again, and numbers its disks anew
        (Place("/a/s.db", 1, 8), False),  # put back from a backup, or written anew by an editor
        (Place("/b/s.db", 1, 8), False),  # copied
        (Place("/b/s.db", 2, 7), False),  # copied to another disk, where it happens to have that number
        (Place("/a/s.db", 1, 7, 42), True),  # on a system that did not tell when it was born
        (Place("/a/s.db", 1, 0), True),  # where numbers do not last
        (Place("/b/s.db", 1, 0), False),
    ],
)
def test_the_same_place(there: Place, is_same: bool) -> None:
    """Lost: a store that must be adopted after each restart, or a copy that acts as if it were the original."""
    here = Place("/a/s.db", 1, 7)
    assert here.is_same(there) is there.is_same(here) is is_same
    assert of_text(there.text()) == there
    born = here._replace(born=42)
    assert born.is_same(there._replace(born=42)) is is_same
    assert born.is_same(there._replace(born=43)) is (there.inode == 0 and is_same), "the number was given again"


@pytest.mark.parametrize(
    "text", ["", "x", "{}", "[]", '{"path": 1}', '{"path": "/a", "device": 1, "inode": "7"}', "9" * 50]
)
def test_a_place_that_cannot_be_read_is_nowhere(text: str) -> None:
    """Lost: what a store says, in a traceback of ours."""
    assert not Place("/a", 1, 7).stands(text)


# --- what a user does to a file ------------------------------------------------------------------------------


def test_a_store_that_is_opened_again_is_where_it_was(world: Disk) -> None:
    """Lost: every store."""
    filled(world)
    assert takes_writes(world.store())


@pytest.mark.parametrize("way", ["file", "directory", "symlink", "hard link"])
def test_another_name_for_the_file_is_no_other_store(world: Disk, way: str) -> None:
    """Lost: a service that is down since somebody renamed a directory."""
    filled(world)
    other = world.path.with_name("other.db")
    match way:
        case "file":
            world.path.rename(other)
        case "directory":
            world.path.parent.rename(world.path.parent.with_name("there"))
            other = world.path.parent.with_name("there") / "store.db"
        case "symlink":
            other.symlink_to(world.path)
        case _:
            os.link(world.path, other)
    store = world.store(other)
    assert takes_writes(store)
    store.close()
    again = world.store(other)
    assert takes_writes(again, "more") and of_file(str(other)).is_same(of_file(str(other)))


def test_a_copy_is_only_read(world: Disk) -> None:
    """Lost: two stores that go on with the same runs: each payment is made twice."""
    filled(world)
    copy = copied(world.path, world.path.parent.with_name("copy") / "store.db")
    before = copy.read_bytes()
    store = world.store(copy)
    assert not takes_writes(store)
    with pytest.raises(StoreDisplaced, match="adopt --moved"):
        store.register("w2")
    assert "adopt" in str(store.journal.facts()["problems"])
    store.close()
    assert copy.read_bytes() == before
    assert takes_writes(world.store()), "the original is what it was"


def test_a_backup_that_was_put_back_is_only_read(world: Disk) -> None:
    """Lost: what was done since the backup is done again."""
    filled(world)
    backup = copied(world.path, world.path.with_name("backup"))
    world.path.unlink()
    copied(backup, world.path)
    assert not takes_writes(world.store())


def test_a_move_to_another_disk_is_only_read_until_somebody_says_that_it_was_one(world: Disk) -> None:
    """Lost: `mv` to another disk leaves a store for good, or is taken for a copy."""
    disk = Path("/dev/shm")
    if not os.access(disk, os.W_OK) or disk.stat().st_dev == world.path.parent.stat().st_dev:
        pytest.skip("needs a second file system: /dev/shm is none here")
    filled(world)
    other = disk / f"holdfast-test-{os.getpid()}.db"
    try:
        shutil.move(world.path, other)
        assert not takes_writes(world.store(other))
        world.opened.pop().close()
        assert adopt(str(other), is_copy=False, by="ann", clock=lambda: NOW) == []
        moved = world.store(other)
        assert takes_writes(moved)
        assert moved.journal.mail("open") == [] and moved.claim("w1") == []
        moved.close()
    finally:
        for name in disk.glob(other.name + "*"):
            name.unlink()


def test_a_bind_mount_is_the_same_place(world: Disk, tmp_path: Path) -> None:
    """Lost: a container that mounts the volume elsewhere cannot use the store."""
    target = tmp_path / "mounted"
    target.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", "--bind", world.path.parent, target], capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount: mount --bind failed")
    try:
        filled(world)
        store = world.store(target / "store.db")
        assert takes_writes(store)
        store.close()
    finally:
        subprocess.run(["umount", target], check=True)


# --- adopting ------------------------------------------------------------------------------------------------


def test_a_copy_that_is_adopted_is_a_store_of_its_own_whose_runs_wait_for_a_person(world: Disk) -> None:
    """Lost: effects that the original makes too; or the keys by which a receiver knows that it had them."""
    original = filled(world)
    copy = copied(world.path, world.path.parent.with_name("copy") / "store.db")
    assert sorted(adopt(str(copy), is_copy=True, by="ann", clock=lambda: NOW)) == ["open", "ready"]
    store, first = world.store(copy), world.store()
    assert takes_writes(store) and takes_writes(first)
    assert store.journal.hash_key == first.journal.hash_key
    assert store.journal.facts()["store"] != first.journal.facts()["store"]
    for run_id in ("open", "ready"):
        mail = store.journal.mail(run_id)[-1].message
        assert mail.kind is accept.MessageKind.PAUSE and mail.facts["by"] == "ann"
        assert str(world.path) in mail.facts["why"]
        assert all(left.message.kind is not accept.MessageKind.PAUSE for left in first.journal.mail(run_id))
    assert store.journal.mail("ended") == []
    assert original.journal is not store.journal


def test_a_process_that_has_the_copy_open_writes_nothing_after_it_became_another(world: Disk) -> None:
    """Lost: a worker of the original, whose file was replaced, writes into a store that is not its own."""
    filled(world)
    copy = copied(world.path, world.path.parent.with_name("copy") / "store.db")
    store = world.store(copy)
    assert not takes_writes(store)
    adopt(str(copy), is_copy=True, by="ann", clock=lambda: NOW)
    with pytest.raises(Exception, match="another"):
        store.start("new")


def test_what_was_moved_under_a_living_worker_is_not_adopted(world: Disk) -> None:
    """Lost: a worker that goes on in the file that was, beside those of the store that was moved."""
    store = world.store()
    store.write(store.hold("open"), [step(0), step(1)])
    store.start("ended")
    store.close()
    copy = copied(world.path, world.path.parent.with_name("moved") / "store.db")
    world.path.unlink()

    def moved(now: float, *, is_dead: bool = False) -> list[str]:
        def dead(worker: Worker) -> bool:
            return is_dead

        return adopt(str(copy), is_copy=False, by="ann", clock=lambda: now, is_dead=dead)

    with pytest.raises(UsageError, match="pid 1"):
        moved(NOW)
    assert moved(NOW, is_dead=True) == []
    assert takes_writes(world.store(copy))


@pytest.mark.parametrize("is_copy", [True, False])
def test_a_store_that_is_where_it_was_is_not_adopted(world: Disk, is_copy: bool) -> None:
    """Lost: all runs are paused by a command in the wrong directory."""
    filled(world)
    with pytest.raises(UsageError, match="where it was"):
        adopt(str(world.path), is_copy=is_copy, by="ann", clock=lambda: NOW)
    store = world.store()
    assert takes_writes(store) and len(store.journal.mail("ready")) == 1


# --- network file systems ------------------------------------------------------------------------------------

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /srv rw - nfs4 files:/export rw
31 30 0:41 / /srv/local\\040disk rw - xfs /dev/vdb rw
32 22 0:42 / /home/ann/box rw,nosuid - fuse.sshfs ann@host:/ rw
33 22 0:43 / /mnt/win rw - cifs //pc/share rw
a line that nobody understands
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/a/store.db", "nfs4"),
        ("/srv/local disk/store.db", "xfs"),
        ("/srv2/store.db", "ext4"),
        ("/home/ann/box/store.db", "fuse.sshfs"),
        ("/mnt/win/store.db", "cifs"),
        ("/store.db", "ext4"),
    ],
)
def test_network_file_systems_are_refused_by_name(tmp_path: Path, path: str, kind: str) -> None:
    """Lost: two machines that both believe that they write alone, and a store that neither can read afterwards."""
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    mount = mount_of(os.path.dirname(path), str(mounts))
    assert mount is not None and mount.kind == kind
    if kind in ("nfs4", "fuse.sshfs", "cifs"):
        with pytest.raises(UsageError, match=rf"network file system \({kind}, .*Nothing was made"):
            refuse_network(path, str(mounts))
    else:
        refuse_network(path, str(mounts))


def test_where_the_system_tells_nothing_nothing_is_refused(tmp_path: Path) -> None:
    """Lost: every store on a system without /proc."""
    assert mount_of("/a", str(tmp_path / "none")) is None
    refuse_network("/a/store.db", str(tmp_path / "none"))


def test_this_disk_has_a_name(tmp_path: Path) -> None:
    """Lost: the check, since what it reads has changed its form."""
    if not Path("/proc/self/mountinfo").exists():
        pytest.skip("needs /proc/self/mountinfo: this system tells no mounts")
    assert isinstance(mount_of(str(tmp_path)), Mount)
