"""A directory of a library whose daemon is killed: what is in it, as far as whoever made it was told (see kill_world.py).

A step whose answer never came may have happened or not; one that was answered must have.
"""
import hashlib
import os

from files import RENAME_EXCHANGE, renameat2, write
from harness import Failure

LONG = 5 << 20


class Died(Exception):
    """The daemon ended in the middle of a step: what would have followed is not done."""


def sha1(data):
    return hashlib.sha1(data).hexdigest()


class Case:
    """A directory of the tree with files of known bytes, as far as whoever made them was told."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.states = [{}]  # each a {path below the case: bytes}; more than one where an answer is missing
        self.loose = {}     # what was being written: {path: what was to be there}

    @property
    def state(self):
        return self.states[0]

    def path(self, name=""):
        return self.world.daemon.path(self.name, name).rstrip("/")

    def under(self, name):
        return os.path.join(self.world.daemon.local, self.name, name)

    def have(self, wanted):
        """wanted: {path: "synced", "vault", "long" (in the vault, and larger than the block cache), "linked" (under two names),
        "share" or "film"}. They are so after the next rest()."""
        for name, state in wanted.items():
            if state == "film":
                name = os.path.basename(self.name) + ".mkv"
            if state == "share":
                self.put_on_share(name, self.world.bytes())
            else:
                self.write(name, self.world.bytes(LONG if state == "long" else None))
            if state in ("vault", "long"):
                self.world.to_evict.append(self.path(name))
            if state == "linked":
                self.link(name, name + " too")

    def put_on_share(self, name, data):
        path = os.path.join(self.world.share, self.name, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write(path, data)
        self.state[name] = data

    def forget(self, name):
        """It went underneath."""
        for state in self.states:
            state.pop(name, None)

    def drop(self, name, place, data):
        """Into Incoming; it is to stand at `place`."""
        self.world.versions.add(sha1(data))

        def call():
            with open(self.world.daemon.path("Incoming", name), "wb") as file:
                file.write(data)

        self.step(call, lambda state: state.__setitem__(place, data))

    def step(self, call, change):
        """change: what the call makes of a {path: bytes}."""
        after = dict(self.state)
        change(after)
        try:
            call()
        except OSError as error:
            self.states = [self.state, after]
            raise Died(str(error)) from error
        self.states = [after]

    def write(self, name, data=None):
        data = self.world.bytes() if data is None else data
        self.world.versions.add(sha1(data))
        self.do(lambda: os.makedirs(os.path.dirname(self.path(name)), exist_ok=True))

        def call():
            with open(self.path(name), "wb") as file:
                file.write(data)

        try:
            self.step(call, lambda state: state.__setitem__(name, data))
        except Died:
            self.loose[name] = data
            raise

    def rename(self, old, new, flags=0):
        """A file or a directory; over whatever is there."""

        def moved(path):
            for a, b in ((old, new),) + (((new, old),) if flags == RENAME_EXCHANGE else ()):
                if path == a or path.startswith(a + "/"):
                    return b + path[len(a):]
            return None if path == new else path

        def change(state):
            after = {moved(path): data for path, data in state.items() if moved(path)}
            state.clear()
            state.update(after)

        self.step(lambda: renameat2(self.path(old), self.path(new), flags), change)

    def unlink(self, name):
        self.step(lambda: os.unlink(self.path(name)), lambda state: state.pop(name))

    def restore(self, name, data):
        """From the trash."""
        def call():
            done = self.world.daemon.run("trash", "restore", self.path(name))
            if done.returncode:
                raise OSError(done.stderr)

        self.step(call, lambda state: state.__setitem__(name, data))

    def link(self, old, new):
        self.step(lambda: os.link(self.path(old), self.path(new)),
                  lambda state: state.__setitem__(new, state[old]))

    def do(self, call):
        """What changes no file's bytes or name."""
        self.step(call, lambda state: None)

    def settle_on(self, found):
        """found: {path: bytes}. Which of the states it is; a file that was being written may be cut short or absent."""
        def fits(state):
            for path in set(state) | set(found):
                if path in self.loose:
                    if not self.loose[path].startswith(found.get(path, b"")) and state.get(path) != found.get(path):
                        return False
                elif state.get(path) != found.get(path):
                    return False
            return True

        for state in self.states:
            if fits(state):
                self.states, self.loose = [found], {}
                self.world.versions |= {sha1(data) for data in found.values()}
                return

        def told(state):
            return {path: sha1(data)[:8] for path, data in sorted(state.items())}

        raise Failure("%s: the tree has %s, but may only have %s" %
                      (self.name, told(found), " or ".join(str(told(s)) for s in self.states)))
