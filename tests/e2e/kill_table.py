"""Which operation reaches which kill point. A new crash_point() in the sources needs a line here: test_kill_points.py says so.

    @operation("plain", have={"a": "synced"}, points={"rename.after_disk": 3})
    def rename(case): ...

world: "plain" (a vault that is a directory), "films" (the case's directory is a film's), "share" (a share besides): many cases in one
world. "alone": the operation gets a world of its own, not started, and kill(*flags, act=None), which starts it (or acts in it) and
sees it die.
have: what the case's directory holds before, and in which state. points: {point: how often it is passed at least}.
after: (point, pass) of a first kill, for what only the next start does; `meanwhile(case)` is called between the two.
"""
import os
import shutil
import sqlite3

from files import RENAME_EXCHANGE, read, write
from harness import check_equal
from kill_case import sha1

OPERATIONS = {}
ELSEWHERE = ["test_rebuild.py"]  # kill a command of their own at points that they name


class Operation:
    def __init__(self, call, world, have, points, after, meanwhile):
        self.name, self.call, self.world, self.have = call.__name__, call, world, have
        self.points, self.after, self.meanwhile = points, after, meanwhile


def operation(world, points, have=None, after=None, meanwhile=None):
    def register(call):
        OPERATIONS[call.__name__] = Operation(call, world, have or {}, points, after, meanwhile)
        return call
    return register


THREE = ("1", "2", "3")


def three(state, prefix):
    return {prefix + n: state for n in THREE}


# Upload, checksum, sidecar ------------------------------------------------------------------------------------------

@operation("plain", {"checksum.before_commit": 3, "checksum.after_commit": 3, "sidecar.before_write": 3,
                     "sidecar.after_write": 3, "upload.after_sync": 3, "upload.before_put": 3, "dir_vault.before_rename": 3,
                     "dir_vault.after_rename": 3, "upload.after_put": 3, "upload.after_commit": 3,
                     "catalogue.before_commit": 5, "catalogue.after_commit": 5})
def upload(case):
    for n in THREE:
        case.write("new/" + n)


@operation("plain", {"checksum.after_commit": 1, "upload.after_put": 1, "dir_vault.after_rename": 1},
           have={"a": "synced", "b": "synced"})
def upload_again(case):
    case.write("a")
    case.write("b")


@operation("plain", {"restat.before_copy": 1, "restat.after_copy": 1, "dir_vault.before_rename": 1}, have={"a": "vault"})
def attributes(case):
    case.do(lambda: os.chmod(case.path("a"), 0o600))


# Evict, fetch, stream -----------------------------------------------------------------------------------------------

@operation("plain", {"evict.before_commit": 3, "evict.after_commit": 3, "evict.after_aside": 3, "evict.after_unlink": 3},
           have=three("synced", ""))
def evict(case):
    case.world.daemon.run("tier", "evict", *[case.path(n) for n in THREE])


@operation("plain", {"fetch.after_data": 1, "fetch.before_publish": 1, "fetch.after_publish": 1, "fetch.after_commit": 1},
           have={"a": "vault", "below/b": "vault"})
def fetch(case):
    case.world.daemon.run("tier", "fetch", case.path("a"), case.path("below/b"))


@operation("plain", {"block_cache.after_data": 1, "block_cache.after_map": 1, "block_cache.before_punch": 1,
                     "block_cache.after_punch": 1}, have={"a": "long", "b": "long", "c": "long"})
def stream(case):
    for name in "abc":
        case.do(lambda name=name: read(case.path(name)))


# Names --------------------------------------------------------------------------------------------------------------

NAMES = {"rename.before_disk": 3, "rename.after_disk": 3, "rename.after_told": 3, "later.after_append": 3,
         "later.after_commit": 1}
OBJECTS = {"relocate.before_copy": 1, "relocate.after_copy": 1, "relocate.after_commit": 1, "forget.before_remove": 1,
           "forget.after_remove": 1, "forget.after_commit": 1, "dir_vault.after_remove": 1}


@operation("plain", {**NAMES, **OBJECTS}, have=three("synced", "a"))
def rename(case):
    for n in THREE:
        case.rename("a" + n, "b" + n)


@operation("plain", {"later.after_append": 3, **OBJECTS}, have=three("vault", "a"))
def rename_in_vault(case):
    for n in THREE:
        case.rename("a" + n, "b" + n)


@operation("plain", {"rename.before_disk": 1, "rename.after_disk": 1, "rename.after_told": 1})
def rename_dirty(case):
    case.write("a")
    case.rename("a", "b")


@operation("plain", {"rename.before_disk": 1, "rename.after_disk": 1, "rename.after_told": 1, "relocate.after_copy": 3,
                     "relocate.after_commit": 3, "forget.after_remove": 3},
           have={"d/1": "synced", "d/2": "vault", "d/below/3": "synced", "d/below/deep/4": "vault"})
def rename_directory(case):
    case.rename("d", "e")


@operation("plain", {"rename.after_disk": 1, "rename.after_told": 1, "later.after_commit": 1, "relocate.after_copy": 1,
                     "relocate.after_commit": 1, "forget.after_remove": 1}, have={"a": "synced", "b": "synced"})
def rename_over(case):
    case.rename("a", "b")


@operation("plain", {"rename.after_commit": 1, "replace.before_local": 1, "replace.after_local": 1, "relocate.after_copy": 1},
           have={"a": "vault", "b": "synced"})
def rename_vault_over_local(case):
    case.rename("a", "b")


@operation("plain", {"rename.after_disk": 1, "rename.after_told": 1, "relocate.after_copy": 1},
           have={"a": "synced", "b": "vault"})
def rename_local_over_vault(case):
    case.rename("a", "b")


@operation("plain", {"replace.before_finished": 1}, have={"a": "vault", "b": "synced"}, after=("rename.after_commit", 1))
def rename_finished_at_start(case):
    case.rename("a", "b")


@operation("plain", {"exchange.after_disk": 1, "exchange.after_commit": 1, "relocate.after_aside": 1,
                     "relocate.aside_committed": 1, "relocate.after_copy": 2, "relocate.after_commit": 2,
                     "forget.after_remove": 1}, have={"a": "synced", "b": "synced"})
def exchange(case):
    case.rename("a", "b", RENAME_EXCHANGE)


@operation("plain", {"moving.before_remove": 1}, have={"a": "synced", "b": "synced"}, after=("relocate.after_aside", 1))
def exchange_finished_at_start(case):
    case.rename("a", "b", RENAME_EXCHANGE)


@operation("plain", {"link.after_disk": 1}, have={"a": "synced", "c": "vault"})
def link(case):
    case.link("a", "b")
    case.link("c", "d")


TRASH = {"trash.before_copy": 1, "trash.after_copy": 1, "trash.after_commit": 1}


@operation("plain", {"unlink.before_disk": 3, "unlink.after_disk": 3, "later.after_append": 3, "later.after_commit": 1,
                     "forget.before_keep": 3, **{point: 3 for point in TRASH},
                     "forget.before_remove": 3, "forget.after_remove": 3, "forget.after_commit": 3,
                     "dir_vault.after_remove": 3}, have={"1": "synced", "2": "vault", "below/3": "synced"})
def delete(case):
    for name in ("1", "2", "below/3"):
        case.unlink(name)


@operation("plain", {"restore.after_intent": 2, "restore.after_copy": 2, "restore.after_commit": 2, "trash.before_remove": 2,
                     "trash.after_remove": 2}, have={"a": "synced", "b": "vault"})
def restore(case):
    deleted = dict(case.state)
    for name in deleted:
        case.unlink(name)
    case.world.daemon.run("jobs", "wait")
    for name, data in deleted.items():
        case.restore(name, data)


@operation("plain", TRASH)
def upload_over_somebody_elses(case):
    theirs = case.world.bytes()
    case.world.versions.add(sha1(theirs))
    os.makedirs(os.path.join(case.world.vault, case.name))
    write(os.path.join(case.world.vault, case.name, "a"), theirs)
    case.write("a")


@operation("plain", {"unlink.before_disk": 1, "unlink.after_disk": 1}, have={"a": "linked", "c": "synced"})
def delete_linked(case):
    case.unlink("a")


@operation("plain", {"unlink.before_disk": 1, "unlink.after_disk": 1}, have={"a": "synced"})
def delete_and_write_again(case):
    case.unlink("a")
    case.write("a")


@operation("plain", {"rmdir.after_disk": 1, "forget.after_remove": 1}, have={"d/a": "synced"})
def delete_directory(case):
    case.unlink("d/a")
    case.do(lambda: os.rmdir(case.path("d")))


# What the share has -------------------------------------------------------------------------------------------------

@operation("share", {"rename.before_share": 1, "rename.after_share": 1, "rename.after_commit": 1}, have={"a": "share"})
def rename_on_share(case):
    case.rename("a", "b")


@operation("share", {"rename.before_share": 1, "rename.after_share": 1, "rename.after_commit": 1, "replace.before_local": 1,
                     "replace.after_local": 1}, have={"a": "share", "b": "synced"})
def rename_share_over_local(case):
    case.rename("a", "b")


@operation("share", {"rename.before_disk": 1, "rename.after_disk": 1, "rename.after_told": 1, "replace.before_local": 1,
                     "replace.after_local": 1}, have={"a": "synced", "b": "share"})
def rename_local_over_share(case):
    case.rename("a", "b")


@operation("share", {"unlink.before_disk": 1, "unlink.after_disk": 1, "unlink.after_share": 1}, have={"a": "share", "b": "share"})
def delete_on_share(case):
    case.unlink("a")


# Organize -----------------------------------------------------------------------------------------------------------

def film(case, data):
    """Dropped into Incoming; the case's directory is its place."""
    name = os.path.basename(case.name)
    case.drop(name.replace(" (2020)", "").replace(" ", ".") + ".2020.1080p.mkv", name + ".mkv", data)


@operation("films", {"organize.before_rename": 1, "organize.after_rename": 1, "rename.before_disk": 1,
                     "rename.after_disk": 1, "rename.after_told": 1, "checksum.after_commit": 1, "upload.after_put": 1})
def organize(case):
    film(case, case.world.bytes(50_000))


@operation("films", {"organize.before_unlink": 1, "organize.after_unlink": 1}, have={"": "film"})
def organize_equal(case):
    film(case, *case.state.values())


@operation("films", {"organize.after_aside": 1}, have={"": "film"})
def organize_better(case):
    (name, old), = case.state.items()
    case.world.elsewhere["Unsorted/" + name] = old
    film(case, case.world.bytes(200_000))


# Starts -------------------------------------------------------------------------------------------------------------

@operation("plain", {"scan.before_adopt": 1, "start.after_catalogue": 1, "start.before_remembered": 1,
                     "contact.after_garbage": 1}, have={"a": "synced"}, after=("rename.after_disk", 1))
def scan_after_rename(case):
    case.rename("a", "b")


@operation("plain", {"scan.before_sidecar": 1}, have={"a": "synced"}, after=("rename.after_told", 1))
def scan_moves_sidecar(case):
    case.rename("a", "b")


@operation("plain", {"scan.before_gone": 1}, have={"a": "synced", "b": "synced"}, after=("rename.before_disk", 1),
           meanwhile=lambda case: os.unlink(case.under("b")))  # the vault has it still
def scan_after_removal(case):
    case.rename("a", "c")


@operation("plain", {"scan.before_recovered": 1}, have={"a": "synced"}, after=("evict.after_aside", 1))
def scan_after_evict(case):
    case.world.daemon.run("tier", "evict", case.path("a"))


# An S3 vault --------------------------------------------------------------------------------------------------------

@operation("s3", {"s3_upload.after_create": 1, "s3_upload.after_note": 1, "s3_upload.after_part": 3,
                  "s3_upload.before_complete": 1, "s3_upload.after_complete": 1, "upload.after_put": 1})
def upload_in_parts(case):
    case.write("large", case.world.bytes(65 << 20))


@operation("s3", {"upload.before_put": 1, "upload.after_put": 2, "upload.after_commit": 2})
def upload_to_s3(case):
    case.write("a")
    case.write("b")


@operation("s3", {"relocate.after_copy": 1, "relocate.after_commit": 1, "forget.after_remove": 1},
           have={"a": "synced", "b": "vault"})
def rename_on_s3(case):
    case.rename("a", "c")
    case.rename("b", "a")


# The first start ----------------------------------------------------------------------------------------------------

@operation("alone", {"start.after_catalogue": 1, "start.before_remembered": 1, "ballast.before_fill": 1,
                     "schema.before_commit": 4, "schema.after_commit": 4, "vault_id.after_offer": 1,
                     "vault_id.after_marker": 1, "vault_id.after_commit": 1, "contact.after_garbage": 1,
                     "catalogue.before_commit": 3, "catalogue.after_commit": 3})
def first_contact(world, kill):
    case = world.case("first")
    kill()
    world.recover()
    case.write("a")
    world.settle(case)


@operation("alone", {"first_listing.before_page": 1, "first_listing.after_page": 1, "first_listing.before_done": 1,
                     "first_listing.after_done": 1})
def first_listing(world, kill):
    case = world.case("listed")
    for name in ("a", "below/b", "below/c"):
        data = world.bytes()
        world.versions.add(sha1(data))
        path = os.path.join(world.vault, case.name, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write(path, data)
        case.state[name] = data
    kill()
    world.recover(case)


@operation("alone", {"upload.after_keep": 1})
def upload_over_what_was_listed(world, kill):
    """Nobody knows what the vault has under a local file's name."""
    case = world.case("listed")
    ours, theirs = world.bytes(), world.bytes()
    for root, data in ((world.vault, theirs), (world.daemon.local, ours)):
        world.versions.add(sha1(data))
        os.makedirs(os.path.join(root, case.name))
        write(os.path.join(root, case.name, "a"), data)
    case.state.update({"a": ours, "a (from the vault)": theirs})
    kill()
    world.recover(case)


@operation("alone", {"aside.after_note": 1, "aside.after_rename": 1})
def damaged_catalogue(world, kill):
    case = world.case("damaged")
    world.start()
    case.have({"a": "synced", "b": "synced"})
    world.settle(case)
    world.daemon.stop()  # its log would heal it
    with open(world.state + "/catalogue.db", "r+b") as database:
        database.write(bytes(1 << 16))
    kill()
    world.start()
    world.daemon.stop()
    world.daemon.cli("rebuild")
    world.rebuilt = True
    world.recover(case)


@operation("alone", {"snapshot.after_copy": 1, "snapshot.after_put": 1})
def snapshot(world, kill):
    case = world.case("kept")
    every(world, "1s")
    kill()
    every(world, "0")
    world.recover()
    case.write("a")
    world.settle(case)


def every(world, interval):
    world.daemon.config["vault"]["snapshot_every"] = interval
    world.daemon.write_config()


def older(world):
    """The catalogue as the first version of mediafs had it."""
    with sqlite3.connect(world.state + "/catalogue.db") as db:
        db.executescript("DROP TABLE trash; DROP TABLE share_entry; ALTER TABLE copy DROP COLUMN lost; DROP INDEX node_evict;"
                         "ALTER TABLE node DROP COLUMN evict_at; PRAGMA user_version = 1;")
    db.close()


@operation("alone", {"schema.before_commit": 4, "schema.after_commit": 4})
def migrate(world, kill):
    case = world.case("older")
    world.start()
    case.have({"a": "synced", "b": "synced"})
    world.settle(case)
    world.daemon.kill()
    older(world)
    kill()
    world.recover()
    case.rename("b", "c")
    world.settle(case)


@operation("alone", {"new_vault.after_marker": 1, "new_vault.after_losses": 1})
def new_vault(world, kill):
    case = world.case("kept")
    world.start()
    case.have({"a": "synced", "b": "synced"})
    world.settle(case)
    world.daemon.kill()
    shutil.rmtree(world.vault)
    os.mkdir(world.vault)
    kill("--new-vault")
    world.recover(case, flags=["--new-vault"])


@operation("alone", {"scan.after_kept": 1})
def keep_what_is_the_last(world, kill):
    """What an eviction had in its hands, while somebody deletes the only other copy."""
    case = world.case("last")
    world.start()
    case.have({"a": "synced"})
    world.settle(case)
    world.arm("evict.after_aside")
    world.daemon.run("tier", "evict", case.path("a"))
    world.await_death("evict.after_aside")
    os.unlink(os.path.join(world.vault, case.name, "a"))
    kill()
    world.start()
    unsorted = world.daemon.path("Unsorted")
    world.bench.wait_until(lambda: world.shown(unsorted), 30, "the file to be kept")
    check_equal([read(file) for file in world.shown(unsorted).values()], [case.state["a"]], "what is kept")


@operation("alone", {"ballast.before_release": 1, "ballast.after_release": 1})
def full_disk(world, kill):
    """The catalogue's disk is full to the last block, and what mediafs has put by for that is let go."""
    case = world.case("full")
    world.state_on_tmpfs(40)
    world.start()
    case.have({"a": "synced", "b": "synced"})
    world.settle(case)
    filler = os.open(world.state + "/filler", os.O_CREAT | os.O_WRONLY)

    def act():
        try:
            while os.write(filler, bytes(4096)):
                pass
        except OSError:
            pass
        for n in range(200):
            case.write("more%d" % n, b"small")

    kill(act=act)
    os.close(filler)
    os.unlink(world.state + "/filler")
    world.recover(case)
