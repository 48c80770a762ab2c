"""mediafs can be killed anywhere: at every kill point, in the middle of every operation that passes it, and again while it
recovers; nothing is lost, doubled, cut short or brought back (kill_world.py says what is asked).
usage: test_kill_points.py every_point_has_an_operation | names | others | copies | films | share | starts | s3 | all_passes
all_passes: each point at its passes 1 to 5, with a second kill at random; SEED in the environment repeats a run."""
import os
import random
import re
import time

from files import read_text
from harness import Failure, check_equal, run
from kill_case import Died
from kill_table import ELSEWHERE, OPERATIONS
from kill_world import World

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ("app", "common", "fs", "pipeline", "tier", "watcher")


def points_in_sources():
    found = set()
    for top in FOLDERS:
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in names:
                if name.endswith((".cpp", ".h")):
                    with open(os.path.join(folder, name)) as file:
                        found |= set(re.findall(r'crash_point\(\s*"([^"]+)"', file.read()))
    return found


def every_point_has_an_operation(_):
    tested = {point for op in OPERATIONS.values() for point in op.points}
    sources = points_in_sources()
    for name in ELSEWHERE:
        tested |= {word for word in re.findall(r'"([a-z_.]+)"', read_text(os.path.join(os.path.dirname(__file__), name))) if word in sources}
    check_equal(sorted(sources - tested), [], "kill points that no operation reaches (tests/e2e/kill_table.py)")
    check_equal(sorted(tested - sources), [], "points that are not in the sources")


class Kill:
    """One case: an operation, where it is killed, and where it is killed again while it recovers (or None)."""

    def __init__(self, op, point, number, again=None):
        self.op, self.point, self.number, self.again = op, point, number, again

    def __str__(self):
        again = ", then %s:%d" % self.again if self.again else ""
        return "%s at %s:%d%s" % (self.op.name, self.point, self.number, again)


def ci_kills(ops):
    """Each point at its first pass, and at its last where it is passed more than twice; of some, the first again while
    it recovers. Every other one of a real store's, which takes its time."""
    for op in ops:
        for number, (point, most) in enumerate(op.points.items()):
            if op.world == "s3" and number % 2:
                continue
            yield Kill(op, point, 1, (point, 1) if number % 4 == 3 else None)
            if most > 2:
                yield Kill(op, point, most)


def perform(world, case, kill):
    first, number = kill.op.after or (kill.point, kill.number)
    world.arm(first, number)
    try:
        kill.op.call(case)
    except Died:
        pass
    world.await_death(first)
    if kill.op.meanwhile:
        kill.op.meanwhile(case)
    if kill.op.after:
        world.start_to_die(kill.point, kill.number)
    if kill.again:
        world.may_die(*kill.again)
    world.recover(case)


def in_one_world(bench, name, kills, **options):
    """The cases one after the other in the same library. After a failure the rest goes on in another, so that all are seen."""
    kills, failures = list(kills), []
    while kills:
        failed = one_library(bench, name, kills, **options)
        if failed:
            failures.append(str(failed))
            print("  FAILED " + str(failed), flush=True)
    if failures:
        raise Failure("%d of the kills: %s" % (len(failures), failures[0]))


def one_library(bench, name, kills, **options):
    """Takes from `kills` what it did; returns the first failure."""
    world = World(bench, name, **options)
    world.start()
    cases = []
    for kill in kills:
        case = world.case(kill.op.name, films=kill.op.world == "films")
        case.have(kill.op.have)
        cases.append((case, kill))
    bystander = world.case("bystander")
    bystander.have({"deep/below/a": "vault", "deep/b": "synced", "c": "linked"})
    world.rest()
    world.check(*([] if world.s3 else world.cases))
    for case, kill in cases:
        kills.pop(0)
        failed = outcome(kill, lambda case=case, kill=kill: perform(world, case, kill))
        if failed:
            world.daemon.clear()
            return failed
    world.rest()
    world.check(*([] if world.s3 else world.cases))
    world.daemon.stop()
    return None


def outcome(kill, call):
    began = time.monotonic()
    try:
        call()
    except (Failure, OSError) as error:
        return Failure("%s: %s" % (kill, error))
    if os.environ.get("VERBOSE"):
        print("  %s (%.1f s)" % (kill, time.monotonic() - began), flush=True)
    return None


def alone(bench, kills, **options):
    failures = []
    for kill in kills:
        world = World(bench, kill.op.name, **options)

        def struck(*flags, act=None, world=world, kill=kill):
            if act is None:
                world.start_to_die(kill.point, kill.number, flags)
            else:
                world.arm(kill.point, kill.number)
                try:
                    act()
                except Died:
                    pass
                world.await_death(kill.point)
            if kill.again:
                world.may_die(*kill.again)

        failed = outcome(kill, lambda world=world, kill=kill, struck=struck: kill.op.call(world, struck))
        if failed:
            print("  FAILED " + str(failed), flush=True)
            failures.append(str(failed))
        world.daemon.clear()
    if failures:
        raise Failure("%d of the kills: %s" % (len(failures), failures[0]))


def in_worlds(*names):
    return [op for op in OPERATIONS.values() if op.world in names]


COPIES = ("upload", "upload_again", "attributes", "evict", "fetch", "stream")
RENAMES = ("rename", "rename_in_vault", "rename_dirty", "rename_directory")


def names(bench):
    in_one_world(bench, "names", ci_kills(op for op in in_worlds("plain") if op.name in RENAMES))


def others(bench):
    in_one_world(bench, "others", ci_kills(op for op in in_worlds("plain") if op.name not in COPIES + RENAMES))


def copies(bench):
    in_one_world(bench, "copies", ci_kills(op for op in in_worlds("plain") if op.name in COPIES))


def films(bench):
    in_one_world(bench, "films", ci_kills(in_worlds("films")))


def share(bench):
    in_one_world(bench, "share", ci_kills(in_worlds("share")), share=True)


def starts(bench):
    alone(bench, ci_kills(in_worlds("alone")))


def s3(bench):
    in_one_world(bench, "bucket", ci_kills(in_worlds("s3")), s3=bench.radosgw())


def all_passes(bench):
    """Each point at its passes 1 to 5 (or as many as the operation has), and again at any point while it recovers."""
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1, 1 << 32)
    print("seed", seed, flush=True)
    draw = random.Random(seed)
    recovering = sorted({p for op in OPERATIONS.values() for p in op.points})

    def kills(ops):
        every = [Kill(op, point, number, draw.choice([None, (point, 1), (draw.choice(recovering), draw.randint(1, 3))]))
                 for op in ops for point, most in op.points.items() for number in range(1, min(most, 5) + 1)]
        draw.shuffle(every)
        return every

    in_one_world(bench, "plain", kills(in_worlds("plain", "films")), seed=seed)
    in_one_world(bench, "share", kills(in_worlds("share")), share=True, seed=seed)
    alone(bench, kills(in_worlds("alone")), seed=seed)
    in_one_world(bench, "bucket", kills(in_worlds("s3")), s3=bench.radosgw(), seed=seed)


if __name__ == "__main__":
    run(every_point_has_an_operation, names, others, copies, films, share, starts, s3, all_passes)
