// The contract that every driver keeps.
#include "tests/tier/vault_contract.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

#include "common/hash.h"

namespace mediafs::tier::test {

#define DRIVERS DirSubject, S3Subject, DavSubject

namespace {

Xxh128 sum_of(const std::string& bytes) {
  return xxh128(std::as_bytes(std::span(bytes)));
}

}  // namespace

TEST_CASE_TEMPLATE("vault: an object goes there and back", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  check_ok(vault->probe());
  CHECK(list_all(*vault).empty());
  const std::string bytes = make_bytes(100'000, 1);
  std::uint64_t progress = 0;
  const Source source(bytes);
  PutSource what = source.put();
  what.progress = [&](std::uint64_t sent) { progress += sent; };
  ObjectMeta meta = some_meta();
  meta.checksum = sum_of(bytes);
  meta.sha1_hex = digest_hex(Digest::sha1, bytes);
  const PutResult put = value_of(vault->put("Movies/A (1999)/A (1999).mkv", what, meta, {}));
  CHECK(progress == bytes.size());
  CHECK(put.checksum == sum_of(bytes));
  CHECK(put.info.size_bytes == bytes.size());
  CHECK(put.info.key == "Movies/A (1999)/A (1999).mkv");

  const ObjectInfo head = value_of(vault->head(put.info.key));
  CHECK(head.key == put.info.key);
  CHECK(head.size_bytes == bytes.size());
  CHECK(head.etag == put.info.etag);
  CHECK_FALSE(head.etag.empty());
  CHECK(head.meta_known == !S::lacks("properties"));
  if (head.meta_known) {
    CHECK(head.meta.mtime_ns == meta.mtime_ns);
    CHECK(head.meta.mode == meta.mode);
    CHECK(head.meta.uid == meta.uid);
    CHECK(head.meta.gid == meta.gid);
    CHECK(head.meta.checksum == meta.checksum);
    CHECK(head.meta.sha1_hex == meta.sha1_hex);
  }

  CHECK(value_of(read_bytes(*vault, {head.key, 0, bytes.size(), head.etag})) == bytes);
  const auto listed = list_all(*vault);
  REQUIRE(listed.size() == 1);
  CHECK(listed[0].key == head.key);
  CHECK(listed[0].size_bytes == head.size_bytes);
  CHECK(listed[0].etag == head.etag);
  CHECK_FALSE(listed[0].meta_known);
  CHECK(listed[0].meta.mtime_ns > 0);

  check_ok(vault->remove(head.key));
  check_ok(vault->remove(head.key));
  CHECK(code_of(vault->head(head.key)) == ErrorCode::not_found);
  CHECK(list_all(*vault).empty());
}

TEST_CASE_TEMPLATE("vault: what must be new overwrites nothing", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  for (const std::string_view text : {"first", "second"}) {
    const Source source(text);
    PutSource what = source.put();
    what.only_new = true;
    const auto put = vault->put(".mediafs/marker", what, some_meta(), {});
    if (text == "first") check_ok(put ? Status() : Status(put.err()));
    if (text == "second") CHECK(code_of(put) == ErrorCode::exists);
  }
  CHECK(value_of(read_bytes(*vault, {".mediafs/marker", 0, 5, ""})) == "first");
  CHECK(list_all(*vault).empty());
}

TEST_CASE_TEMPLATE("vault: names with hard bytes", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  std::vector<std::string> keys{"with space",
                                " leading",
                                "trailing ",
                                "plus+plus",
                                "per%20cent",
                                "%",
                                "hash#tag",
                                "what?a=1&b=2",
                                "\xC3\xBCml\xC3\xA4ut",
                                "\xE6\x97\xA5\xE6\x9C\xAC.mkv",
                                "dots..",
                                "...",
                                "quote\"'`",
                                "a&b<c>",
                                "back\\slash",
                                "star*",
                                "a;b:c@d=e,f!g$h",
                                "~tilde",
                                "[x]{y}|^",
                                "tab\tin",
                                "line\nbreak",
                                "d+ir %/s ub/f+i%2Fle",
                                "a/b/c/d/e/f",
                                ".hidden",
                                "e\xCC\x81 nfd",
                                std::string(255, 'n'),
                                std::string(250, 'x') + "/" + std::string(255, 'y'),
                                "a.b",
                                "ab/c"};
  if (S::lacks("dotted names in listings"))
    std::erase_if(keys, [](const auto& key) { return key.front() == '.'; });
  for (const std::string& key : keys) {
    CAPTURE(key);
    CHECK(put_bytes(*vault, key, "of " + key).info.key == key);
  }
  std::sort(keys.begin(), keys.end());
  const auto listed = keys_of(list_all(*vault));
  for (const std::string& key : keys) CHECK_MESSAGE(std::count(listed.begin(), listed.end(), key) == 1, key);
  CHECK(listed == keys);
  for (const std::string& key : keys) {
    CAPTURE(key);
    const ObjectInfo head = value_of(vault->head(key));
    CHECK(value_of(read_bytes(*vault, {key, 0, head.size_bytes, head.etag})) == "of " + key);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    CAPTURE(keys[i]);
    const std::string to = "moved/" + std::to_string(i) + "/" + keys[i].substr(0, keys[i].find('/'));
    CHECK(value_of(vault->copy(keys[i], to, some_meta(), {})).size_bytes == keys[i].size() + 3);
    check_ok(vault->remove(keys[i]));
  }
  CHECK(list_all(*vault).size() == keys.size());
  CHECK(list_all(*vault, "moved").size() == keys.size());
}

TEST_CASE_TEMPLATE("vault: sizes around the borders of parts", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kPart - 1, kPart, kPart + 1, 2 * kPart,
                                 2 * kPart + 1, 7 * kPart + 12'345}) {
    CAPTURE(size);
    const std::string bytes = make_bytes(size, 7);
    const std::string key = "sized/" + std::to_string(size);
    const Source source(bytes);
    PutSource what = source.put();
    std::uint64_t progress = 0;
    what.progress = [&](std::uint64_t sent) { progress += sent; };
    ObjectMeta meta = some_meta();
    if (size % 2 == 0) meta.checksum = sum_of(bytes);
    const PutResult put = value_of(vault->put(key, what, meta, {}));
    CHECK(put.checksum == sum_of(bytes));
    CHECK(progress == size);
    const ObjectInfo head = value_of(vault->head(key));
    CHECK(head.size_bytes == size);
    CHECK(head.etag == put.info.etag);
    CHECK((!head.meta_known || head.meta.checksum == put.checksum));
    CHECK((!head.meta_known || head.meta.mtime_ns == meta.mtime_ns));
    if (size > 0) CHECK(value_of(read_bytes(*vault, {key, 0, size, head.etag})) == bytes);
  }
  CHECK(subject.garbage() == 0);
}

TEST_CASE_TEMPLATE("vault: ranges", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  const std::string bytes = make_bytes(kPart + 100'000, 3);
  const std::string etag = put_bytes(*vault, "a", bytes).info.etag;
  const std::pair<std::size_t, std::size_t> ranges[] = {
      {0, 1}, {bytes.size() - 1, 1}, {kPart - 10, 20}, {1, bytes.size() - 1}, {12'345, 1'000'000}};
  for (const auto& range : ranges) {
    const std::size_t offset = range.first;
    const std::size_t size = range.second;
    CAPTURE(offset);
    CHECK(value_of(read_bytes(*vault, {"a", offset, size, etag})) == bytes.substr(offset, size));
    CHECK(value_of(read_bytes(*vault, {"a", offset, size, ""})) == bytes.substr(offset, size));
  }
  CHECK(code_of(read_bytes(*vault, {"a", bytes.size() - 5, 6, etag})) == ErrorCode::changed);
  CHECK(code_of(read_bytes(*vault, {"a", bytes.size(), 1, ""})) == ErrorCode::changed);
}

TEST_CASE_TEMPLATE("vault: another version is not read as the known one", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  const std::string old_etag = put_bytes(*vault, "a", "version one").info.etag;
  const std::string new_etag = put_bytes(*vault, "a", "version two").info.etag;
  CHECK(old_etag != new_etag);
  CHECK(code_of(read_bytes(*vault, {"a", 0, 11, old_etag})) == ErrorCode::changed);
  CHECK(value_of(read_bytes(*vault, {"a", 0, 11, new_etag})) == "version two");
}

TEST_CASE_TEMPLATE("vault: what is not there is not_found", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  put_bytes(*vault, "folder/file", "x");
  for (const std::string key : {"none", "none/at/all", "folder", "folder/file/below"}) {
    CAPTURE(key);
    CHECK(code_of(vault->head(key)) == ErrorCode::not_found);
    CHECK(code_of(read_bytes(*vault, {key, 0, 1, ""})) == ErrorCode::not_found);
    CHECK(code_of(vault->copy(key, "to", {}, {})) == ErrorCode::not_found);
    check_ok(vault->remove(key));
  }
  CHECK(keys_of(list_all(*vault)) == std::vector<std::string>{"folder/file"});
  CHECK(list_all(*vault, "none").empty());
}

TEST_CASE_TEMPLATE("vault: keys that leave the tree are refused", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  const Source source("x");
  for (const std::string key : {"", "..", "../x", "a/../../x", "/abs", "a//b", "a/", "."}) {
    CAPTURE(key);
    CHECK(code_of(vault->put(key, source.put(), {}, {})) == ErrorCode::invalid);
    CHECK(code_of(vault->head(key)) == ErrorCode::invalid);
    CHECK(code_of(read_bytes(*vault, {key, 0, 1, ""})) == ErrorCode::invalid);
    CHECK(code_of(vault->remove(key)) == ErrorCode::invalid);
    CHECK(code_of(vault->copy(key, "b", {}, {})) == ErrorCode::invalid);
    CHECK(code_of(vault->copy("b", key, {}, {})) == ErrorCode::invalid);
  }
}

TEST_CASE_TEMPLATE("vault: metadata", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  const std::string bytes = make_bytes(2 * kPart + 5, 4);
  const bool kept = !S::lacks("properties");
  for (const WallNs mtime :
       {WallNs{0}, WallNs{1'700'000'000'000'000'001}, WallNs{4'000'000'000'500'000'000}}) {
    CAPTURE(mtime);
    ObjectMeta meta = some_meta();
    meta.mtime_ns = mtime;
    const Source source("x");
    const ObjectInfo put = value_of(vault->put("m", source.put(), meta, {})).info;
    CHECK((kept || !put.meta_known));
    if (!kept) continue;
    CHECK(put.meta.mtime_ns == mtime);
    CHECK(value_of(vault->head("m")).meta.mtime_ns == mtime);
  }
  // A copy, large and small, and a copy onto itself: new metadata, the same bytes, the checksum kept.
  const PutResult large = put_bytes(*vault, "large", bytes);
  ObjectMeta changed = some_meta();
  changed.mtime_ns = 1'600'000'000'000'000'500;
  changed.mode = 0600;
  for (const std::string to : {"large", "copies/large"}) {
    CAPTURE(to);
    const ObjectInfo copied = value_of(vault->copy("large", to, changed, {}));
    CHECK(copied.key == to);
    const ObjectInfo head = value_of(vault->head(to));
    CHECK(head.etag == copied.etag);
    CHECK((!kept || head.meta.mtime_ns == changed.mtime_ns));
    CHECK((!kept || head.meta.mode == 0600));
    CHECK((!kept || head.meta.checksum == large.checksum));
    CHECK(value_of(read_bytes(*vault, {to, 0, bytes.size(), head.etag})) == bytes);
  }
  put_bytes(*vault, "copies/large", "small");
  CHECK(value_of(vault->copy("m", "copies/large", changed, {})).size_bytes == 1);
  CHECK(value_of(read_bytes(*vault, {"copies/large", 0, 1, ""})) == "x");
  CHECK(subject.garbage() == 0);
}

TEST_CASE_TEMPLATE("vault: readers see one version or the other, never a mixture", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  const std::string a(1U << 20, 'a');
  const std::string b(1U << 20, 'b');
  put_bytes(*vault, "f", a);
  std::atomic<bool> over{false};
  std::atomic<int> mixed{0};
  std::vector<std::string> failed;  // the reader's, until it is joined
  std::jthread reader([&] {
    std::string got(a.size(), '\0');
    while (!over) {
      const auto read = vault->read({"f", 0, got.size(), ""}, std::as_writable_bytes(std::span(got)));
      if (!read) failed.push_back(read.error().message());
      mixed += read && got != a && got != b ? 1 : 0;
    }
  });
  // Where only the second tells two versions apart, each waits for the next one.
  const int versions = S::lacks("ETags finer than a second") ? 4 : 20;
  for (int i = 0; i < versions; ++i) put_bytes(*vault, "f", i % 2 == 0 ? b : a);
  over = true;
  reader.join();
  CHECK(mixed == 0);
  CHECK_MESSAGE(failed.empty(), (failed.empty() ? std::string() : failed.front()));
}

TEST_CASE_TEMPLATE("vault: a read is cancelled", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  put_bytes(*vault, "f", make_bytes(4 * kPart, 5));
  SUBCASE("by its number, once bytes came") {
    std::promise<void> first;
    std::promise<void> asked;
    std::promise<Status> done;
    bool seen = false;
    const std::uint64_t id = vault->start_read(
        {"f", 0, 4 * kPart, ""},
        [&](std::span<const std::byte>) {
          if (!std::exchange(seen, true)) {
            first.set_value();
            asked.get_future().wait();
          }
          return true;
        },
        [&](Status status) { done.set_value(std::move(status)); });
    first.get_future().wait();
    vault->cancel(id);
    asked.set_value();
    CHECK(code_of(done.get_future().get()) == ErrorCode::cancelled);
    vault->cancel(id);
  }
  SUBCASE("by its receiver") {
    std::promise<Status> done;
    int calls = 0;
    vault->start_read(
        {"f", 0, 4 * kPart, ""}, [&](std::span<const std::byte>) { return ++calls < 2; },
        [&](Status status) { done.set_value(std::move(status)); });
    CHECK(code_of(done.get_future().get()) == ErrorCode::cancelled);
    CHECK(calls == 2);
  }
  SUBCASE("by the vault's end: every on_done has run") {
    std::atomic<int> done{0};
    auto other = subject.open();
    for (int i = 0; i < 20; ++i) {
      other->start_read(
          {"f", 0, 4 * kPart, ""}, [](std::span<const std::byte>) { return true; },
          [&](const Status&) { ++done; });
    }
    other.reset();
    CHECK(done == 20);
  }
}

TEST_CASE_TEMPLATE("vault: listings come in order, below the prefix, and stop", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  std::vector<std::string> keys;
  for (int i = 0; i < 33; ++i) keys.push_back("l/" + std::to_string(i) + (i % 3 == 0 ? "/deep/x" : ".x"));
  for (const char* more : {"l.x", "la/x", "k", ".mediafs/snapshot"}) keys.emplace_back(more);
  for (const std::string& key : keys) put_bytes(*vault, key, "x");
  keys.pop_back();  // what is mediafs's own is not of the tree
  std::sort(keys.begin(), keys.end());
  CHECK(keys_of(list_all(*vault)) == keys);
  CHECK(list_all(*vault, "l").size() == 33);
  CHECK(keys_of(list_all(*vault, "l/0/deep")) == std::vector<std::string>{"l/0/deep/x"});
  CHECK(keys_of(list_all(*vault, ".mediafs")) == std::vector<std::string>{".mediafs/snapshot"});
  int pages = 0;
  check_ok(vault->list("", [&](std::vector<ObjectInfo>&&) { return ++pages < 1; }, {}));
  CHECK(pages == 1);
  std::stop_source stop;
  stop.request_stop();
  CHECK(code_of(vault->list(
            "", [](std::vector<ObjectInfo>&&) { return true; }, stop.get_token())) == ErrorCode::cancelled);
}

}  // namespace mediafs::tier::test
