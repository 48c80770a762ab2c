// The contract when things go wrong: nothing half done is ever visible, and the error says what happened.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/tier/vault_contract.h"

namespace mediafs::tier::test {

#define DRIVERS DirSubject, S3Subject, DavSubject

TEST_CASE_TEMPLATE("vault: a put that is stopped leaves what was there", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  put_bytes(*vault, "old", "old bytes");
  const Source large(make_bytes(6 * kPart, 1));
  const Source small(make_bytes(kPart - 1, 1));
  for (const Source* source : {&large, &small}) {
    for (const std::string key : {"old", "new/one"}) {
      CAPTURE(key);
      std::stop_source stop;
      PutSource what = source->put();
      what.progress = [&](std::uint64_t) { stop.request_stop(); };
      // Of a small one all bytes may have gone before the stop is seen; then it is whole.
      const auto put = vault->put(key, what, some_meta(), stop.get_token());
      if (source == &small && put) {
        put_bytes(*vault, "old", "old bytes");
        check_ok(vault->remove("new/one"));
        continue;
      }
      CHECK(code_of(put) == ErrorCode::cancelled);
    }
  }
  CHECK(keys_of(list_all(*vault)) == std::vector<std::string>{"old"});
  CHECK(value_of(read_bytes(*vault, {"old", 0, 9, ""})) == "old bytes");
  CHECK(subject.garbage() == 0);
}

TEST_CASE_TEMPLATE("vault: a file that is not the one that was checksummed is refused", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  for (const std::size_t size : {std::size_t{10}, 2 * kPart + 1}) {
    CAPTURE(size);
    const std::string bytes = make_bytes(size, 1);
    const Source source(bytes);
    ObjectMeta meta = some_meta();
    meta.checksum = Xxh128{1, 2, 3};
    CHECK(code_of(vault->put("a", source.put(), meta, {})) == ErrorCode::changed);
    PutSource longer = source.put();
    longer.size_bytes += 1;
    CHECK(code_of(vault->put("a", longer, some_meta(), {})) == ErrorCode::changed);
  }
  CHECK(list_all(*vault).empty());
  CHECK(subject.garbage() == 0);
}

// The bytes of the second half change when the first have gone out: after the pass that hashed them, or before it.
TEST_CASE_TEMPLATE("vault: a file that changes while it is sent is refused", S, DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  const auto vault = subject.open();
  for (const std::size_t size : {kPart, 8 * kPart}) {
    CAPTURE(size);
    const std::string bytes = make_bytes(size, 2);
    const Source source(bytes);
    ObjectMeta meta = some_meta();
    meta.checksum = xxh128(std::as_bytes(std::span(bytes)));
    PutSource what = source.put();
    bool done = false;
    what.progress = [&](std::uint64_t) {
      if (std::exchange(done, true)) return;
      const std::string other(size / 4, 'z');
      CHECK(write_all(source.fd(), std::as_bytes(std::span(other)), size - other.size()));
    };
    CHECK(code_of(vault->put("a", what, meta, {})) == ErrorCode::changed);
    CHECK(list_all(*vault).empty());
  }
  CHECK(subject.garbage() == 0);
}

namespace {

template <class S>
void put_until_killed() {
  const S subject = S::from_parent();
  const auto vault = subject.open();
  const Source source(make_bytes(8 * kPart, 9));
  PutSource what = source.put();
  std::uint64_t sent = 0;
  what.progress = [&](std::uint64_t bytes) {
    sent += bytes;
    if (sent > kPart) ::kill(::getpid(), SIGKILL);
  };
  [[maybe_unused]] const auto never = vault->put("kil%6Ced + &x", what, some_meta(), {});
}

}  // namespace

// Run by the test below, in a process of their own.
TEST_CASE("child: DirSubject" * doctest::skip()) {
  put_until_killed<DirSubject>();
}
TEST_CASE("child: S3Subject" * doctest::skip()) {
  put_until_killed<S3Subject>();
}
TEST_CASE("child: DavSubject" * doctest::skip()) {
  put_until_killed<DavSubject>();
}

TEST_CASE_TEMPLATE("vault: a process killed in a put leaves nothing visible, and its garbage is collected", S,
                   DRIVERS) {
  MEDIAFS_SUBJECT(S, subject);
  subject.pass_to_child();
  std::string self = "/proc/self/exe";
  std::string quiet = "--no-skip";
  std::string filter = std::string("--test-case=child: ") + S::kName;
  char* const argv[] = {self.data(), quiet.data(), filter.data(), nullptr};
  pid_t child = 0;
  const auto vault = subject.open();
  check_ok(vault->probe());
  REQUIRE(::posix_spawn(&child, self.c_str(), nullptr, nullptr, argv, environ) == 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGKILL);
  if (!S::lacks("leftovers of a killed upload")) CHECK(subject.garbage() == 1);
  CHECK(list_all(*vault).empty());
  CHECK(code_of(vault->head("kil%6Ced + &x")) == ErrorCode::not_found);
  put_bytes(*vault, "other", "x");
  check_ok(vault->collect_garbage());
  CHECK(subject.garbage() == 0);
  CHECK(keys_of(list_all(*vault)) == std::vector<std::string>{"other"});
}

}  // namespace mediafs::tier::test
