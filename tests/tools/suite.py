"""unittest as our suites run it: a line "skipped: REASON" for each skipped test, as packaging/test.sh looks for it."""
import unittest


class Runner(unittest.TextTestRunner):
    def run(self, test):
        result = super().run(test)
        for _, reason in result.skipped:  # after the progress, whose dots end without a newline
            print("skipped: " + reason, flush=True)
        return result


def main():
    """Runs the script's tests and ends the program."""
    unittest.main(module="__main__", testRunner=Runner)
