"""What a suite leaves out it says, a line each; its exit status is of what it ran."""
import subprocess
import sys
import textwrap
import unittest

import suite

SCRIPT = """
    import unittest
    import suite

    class Case(unittest.TestCase):
        def test_skipped(self):
            self.skipTest("there is no moon")

        def test_skipped_in_part(self):
            with self.subTest("part"):
                self.skipTest("there is no sun")

        def test_run(self):
            self.assertEqual(1, %d)

    suite.main()
"""


class Skips(unittest.TestCase):
    def outcome(self, number):
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT % number)], text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("skipped: ")]

    def test_each_reason_is_a_line(self):
        lines = ["skipped: there is no moon", "skipped: there is no sun"]
        self.assertEqual(self.outcome(1), (0, lines))
        self.assertEqual(self.outcome(2), (1, lines))


if __name__ == "__main__":
    suite.main()
