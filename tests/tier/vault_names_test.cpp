// Keys that can't be paths, and paths that can't be keys.
#include "tier/vault/names.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>

#include "common/path.h"

namespace mediafs::tier {

namespace {

#define Q "\xE2\x80\x9B"

std::string there_and_back(const std::string& key) {
  const std::string path = path_of_key(key);
  const auto fine = check_path(path);
  CHECK_MESSAGE(fine, printable(path));
  const auto back = key_of_path(path);
  REQUIRE_MESSAGE(back, printable(path));
  CHECK_MESSAGE(*back == key, printable(key) << " -> " << printable(path) << " -> " << printable(*back));
  return path;
}

}  // namespace

TEST_CASE("vault names: what can be a path is one") {
  const std::string long_name(255, 'n');
  for (const std::string key :
       {"Movies/A (1999)/A.mkv", " lead/trail ", "dots../..dots", "new\nline/tab\t/\x01\x7F", "%2F+&<>\"'\\",
        "#?*[]~$:", "\xC3\xA9/e\xCC\x81", "\xF0\x9F\x8E\xAC/\xE6\x98\xA0\xE7\x94\xBB", "a" Q "b", Q,
        "AC\xEF\xBC\x8F"
        "DC",
        ".hidden", "...", ".mediafs/vault-id", "sub/.mediafs/x"}) {
    CHECK(there_and_back(key) == key);
  }
  CHECK(there_and_back(long_name) == long_name);
}

TEST_CASE("vault names: keys that can't be paths have other names") {
  const std::map<std::string, std::string> shown{
      {"a//b", "a/" Q "{}/b"},
      {"/a", Q "{}/a"},
      {"a/", "a/" Q "{}"},
      {"a//", "a/" Q "{}/" Q "{}"},
      {"/", Q "{}/" Q "{}"},
      {"./a", Q "{2E}/a"},
      {"a/../b", "a/" Q "{2E}" Q "{2E}/b"},
      {"a/" Q "{}/b", "a/" Q "{E2809B}{}/b"},
      {"bad\xFE", "bad" Q "{FE}"},
      {std::string("n\0l", 3), "n" Q "{00}l"},
      {".mediafs", Q "{2E}mediafs"},
      {"x/.mediafs-tmp.1.2", "x/" Q "{2E}mediafs-tmp.1.2"},
      {"a" Q "41", "a" Q "{E2809B}41"},  // rclone would take it for "aA"
  };
  for (const auto& [key, path] : shown) CHECK(printable(there_and_back(key)) == printable(path));
}

TEST_CASE("vault names: a part of over 255 bytes goes on in the next name") {
  const std::string path = there_and_back("m/" + std::string(300, 'L') + "/f.mkv");
  CHECK(path == "m/" + std::string(249, 'L') + Q "{+}/" + std::string(51, 'L') + "/f.mkv");
  std::string wide;
  for (int i = 0; i < 400; ++i) wide += "\xC3\xA9";
  there_and_back(wide);
  there_and_back(wide + "/" + wide);
  there_and_back(std::string(300, 'L') + "/" + std::string(300, 'L'));
  CHECK(path_of_key(std::string(600, 'L')) !=
        path_of_key(std::string(300, 'L') + "/" + std::string(300, 'L')));
}

TEST_CASE("vault names: names that are no UTF-8 stand in the bucket as rclone writes them") {
  const std::map<std::string, std::string> keys{{"latin\xFC.mkv", "latin" Q "FC.mkv"},
                                                {"\xED\xA0\x80", Q "ED" Q "A0" Q "80"},
                                                {Q "FE", Q Q "FE"},
                                                {Q Q, Q Q Q},
                                                {Q "\xFE", Q Q Q "FE"},
                                                {"d\xFE/f", "d" Q "FE/f"}};
  for (const auto& [path, key] : keys) {
    const auto made = key_of_path(path);
    REQUIRE(made);
    CHECK(printable(*made) == printable(key));
    CHECK(printable(path_of_key(*made)) == printable(path));
  }
}

TEST_CASE("vault names: two objects of one name") {
  CHECK(*key_of_path(marked_file("a/b")) == "a/b");
  CHECK(*key_of_path(marked_folder("a") + "/b") == "a/b");
  CHECK(*key_of_path(marked_file("a/" Q "{}")) == "a/");
  CHECK(unmarked(marked_folder("a") + "/" + marked_file("b")) == "a/b");
  CHECK(same_object("a/b/c") ==
        std::vector<std::string>{"a/b/c", "a/b/c" Q "{file}", "a" Q "{dir}/b/c", "a/b" Q "{dir}/c"});
  CHECK(same_object(marked_file("a")) == same_object("a"));
  CHECK(path_of_key("a" Q "{file}") == "a" Q "{E2809B}{file}");
}

TEST_CASE("vault names: what only looks like an escaped name is refused") {
  for (const std::string path : {"a" Q "{", "a" Q "{zz}", "a" Q "{41}", Q "{2e}", "a" Q "{}", "a" Q "{+}",
                                 "a" Q "{+}/b", Q "{F0}" Q "{9F}" Q "{8E}" Q "{AC}", Q "{file}"}) {
    const auto key = key_of_path(path);
    CHECK_MESSAGE(!key, printable(path));
    if (!key) CHECK(key.error().code == ErrorCode::invalid);
  }
}

TEST_CASE("vault names: random keys each have a path of their own") {
  std::minstd_rand random(7);
  const std::vector<std::string> pieces{"a",
                                        "/",
                                        "//",
                                        ".",
                                        "..",
                                        "\xFE",
                                        Q,
                                        "{",
                                        "}",
                                        "{}",
                                        "41",
                                        "FE",
                                        "2E",
                                        "+",
                                        "\n",
                                        " ",
                                        "\xC3\xA9",
                                        "\xC3",
                                        "{file}",
                                        "{dir}",
                                        std::string(130, 'x'),
                                        std::string(1, '\0'),
                                        ".mediafs",
                                        "-tmp."};
  std::map<std::string, std::string> taken;
  for (int i = 0; i < 20'000; ++i) {
    std::string key;
    for (auto n = random() % 9 + 1; n > 0; --n) key += pieces[random() % pieces.size()];
    if (key.starts_with(".mediafs/")) continue;  // ours
    const auto [at, fresh] = taken.emplace(there_and_back(key), key);
    CHECK(at->second == key);
  }
}

}  // namespace mediafs::tier
