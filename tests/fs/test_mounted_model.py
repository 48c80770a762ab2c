"""Parity: random sequences of every operation answer the same (result, errno, attributes, content) on the mount and in
a plain directory, which is the model, while the files move between the local disk, the share and the vault.

After the daemon's program and its options: seed=N replays one sequence; count=N first=N runs others; steps=N longer
ones. A sequence that fails is made shorter before it is shown. Odd seeds have a share."""
import os
import random
import sys

import mounted
from parity_draw import Draw
from parity_run import Different, Run, fine_times

SETTINGS = {"seed": None, "first": 1, "count": 250, "steps": 40}
WEATHER = {"store": 5, "evict": 6, "fetch": 2, "vault": 1}
WITH_SHARE = {"share": 5}
RARELY = {"under": 0.2, "restart": 0.02}  # these take their time


class Parity(mounted.Case):
    @classmethod
    def setUpClass(cls):
        os.setgroups([])
        cls.worlds = [mounted.for_module(), mounted.for_module(share=True)]
        cls.fine_times = fine_times(cls.worlds[0].plain)
        cls.runs = 0

    def take(self, m, umask, mode, steps):
        """Takes the steps, drawn one by one or known before. What went wrong, if anything did; the steps' answers."""
        Parity.runs += 1
        taken = []
        run = None
        before = os.umask(umask)
        try:
            run = Run(m, "s%d" % Parity.runs, self.fine_times)
            m.tell("settle " + run.top)
            for side in (run.mount, run.plain):
                os.chmod(side.base, mode)
            for step in steps(run):
                taken.append((step, None))
                taken[-1] = (step, run.do(*step))
            run.compare_contents()
            run.close()
        except (Different, OSError, RuntimeError) as e:
            if run:
                run.let_go()
            return "%s: %s" % (type(e).__name__, e), taken
        finally:
            os.umask(before)
        return None, taken

    def shorten(self, m, umask, mode, taken):
        """Drops what the failure does not need."""
        steps = [step for step, _ in taken]
        size = len(steps) // 2
        while size > 0:
            at = 0
            while at < len(steps):
                fewer = steps[:at] + steps[at + size:]
                if self.take(m, umask, mode, lambda _: fewer)[0]:
                    steps = fewer
                else:
                    at += size
            size //= 2
        return self.take(m, umask, mode, lambda _: steps)

    def sequence(self, seed):
        r = random.Random(seed)
        m = self.worlds[seed % 2]
        umask, mode = r.choice([0, 0o022, 0o027]), r.choice([0o777, 0o1777, 0o2777, 0o755])
        weather = {**WEATHER, **(WITH_SHARE if m.share else {})}
        often = r.choice([1, 3])
        weather = {kind: weight * often for kind, weight in weather.items()} | RARELY

        def drawn(run):
            draw = Draw(r, run, weather)
            for _ in range(SETTINGS["steps"]):
                yield draw.step()
        wrong, taken = self.take(m, umask, mode, drawn)
        if not wrong:
            return
        shorter = self.shorten(m, umask, mode, taken)
        wrong, taken = shorter if shorter[0] else (wrong + " (not again)", taken)
        steps = "\n".join("  %r -> %.100r" % each for each in taken)
        self.fail("seed=%d umask=%o top=%o: %s\n%s" % (seed, umask, mode, wrong, steps))

    def test_random_sequences(self):
        first = SETTINGS["first"]
        one = SETTINGS["seed"]
        for seed in [one] if one is not None else range(first, first + SETTINGS["count"]):
            with self.subTest(seed=seed):
                self.sequence(seed)


if __name__ == "__main__":
    for argument in sys.argv[2:]:
        name, _, value = argument.partition("=")
        if name in SETTINGS:
            SETTINGS[name] = int(value)
            sys.argv.remove(argument)
    mounted.main()
