"""The source scan finds what is planted, and nothing in a clean tree."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scan import scan  # noqa: E402

CLEAN = {
    "common/a.h": "#pragma once\n#include <vector>\n",
    "common/a.cpp": '#include "common/a.h"\n#include <fmt/format.h>\n',
    "tier/vault/v.h": '#include "common/a.h"\n',
    "fs/n.h": '#include "tier/vault/v.h"\n#include "fs/n.h"\n',
    "pipeline/p.h": '#include "common/a.h"\n#include <nlohmann/json_fwd.hpp>\n',
    "app/main.cpp": '#include "fs/n.h"\n#include "pipeline/p.h"\n#include <CLI/CLI.hpp>\n',
    "tests/fs/t.cpp": '#include "fs/n.h"\n#include "app/main.cpp"\n',
    "tests/fs/u.cpp": '#include "fixture.h"\n',
    "tests/fs/fixture.h": "",
    "tests/help.h": "",
}


class Scan(unittest.TestCase):
    def faults(self, more):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**CLEAN, **more}.items():
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), "w") as file:
                    file.write(text)
            return list(scan(root))

    def finds(self, path, text, words):
        found = self.faults({path: text})
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(path + ":1: "), found)
        self.assertIn(words, found[0])

    def test_clean(self):
        self.assertEqual(self.faults({}), [])

    def test_up(self):
        self.finds("common/b.cpp", '#include "tier/vault/v.h"\n', "points up")
        self.finds("tier/b.h", '#  include "fs/n.h"\n', "points up")

    def test_sideways(self):
        self.finds("fs/b.cpp", '#include "pipeline/p.h"\n', "points sideways")
        self.finds("pipeline/naming/b.cpp", '#include "fs/n.h"\n', "points sideways")

    def test_climbing(self):
        self.finds("fs/b.cpp", '#include "../tier/vault/v.h"\n', "climbs")

    def test_not_root_relative(self):
        self.finds("fs/b.cpp", '#include "n.h"\n', "no file below the root")
        self.finds("tests/tier/b.cpp", '#include "fixture.h"\n', "no file below the root")

    def test_tests_are_not_needed(self):
        self.finds("fs/b.cpp", '#include "tests/help.h"\n', "must not need")

    def test_heavy(self):
        for header in ("CLI/CLI.hpp", "nlohmann/json.hpp", "spdlog/spdlog.h", "toml++/toml.h", "fmt/core.h"):
            self.finds("fs/b.h", "#include <%s>\n" % header, "heavy")

    def test_angle_brackets(self):
        self.finds("fs/b.cpp", "#include <tier/vault/v.h>\n", "use \"")

    def test_marks(self):
        self.finds("docs/x.md", "TO" + "DO: later\n", "unfinished")
        self.finds("fs/b.cpp", "// FIX" + "ME\n", "unfinished")


if __name__ == "__main__":
    unittest.main()
