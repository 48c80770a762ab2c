// An upload in parts that is killed or fails goes on where it was: no part is sent twice that the store had.
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <random>
#include <set>

#include "tests/tier/s3_proxied.h"
#include "tier/vault/s3_client.h"
#include "tier/vault/s3_vault.h"
#include "tier/vault/s3_xml.h"

namespace mediafs::tier::test {

namespace {

constexpr const char* kKey = "a large + film.mkv";

std::size_t number_from(const char* name, std::size_t otherwise) {
  const std::string text = environment(name);
  return text.empty() ? otherwise : std::stoull(text);
}

// A file of many parts, and where uploads are noted.
struct Film {
  TempFolder folder;
  std::string path = folder.path() + "/film";
  std::size_t bytes = number_from("MEDIAFS_TEST_UPLOAD_MIB", 36) << 20U;
  Fd fd;
  ObjectMeta meta = some_meta();

  Film() {
    fd = value_of(open_at(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    for (std::size_t at = 0; at < bytes; at += 1U << 20U)
      write(at, make_bytes(1U << 20U, unsigned(at >> 20U) + 1));
    sum();
  }
  void write(std::size_t at, const std::string& text) const {
    REQUIRE(write_all(fd.get(), std::as_bytes(std::span(text)), at));
  }
  void sum() { meta.checksum = value_of(hash_fd(fd.get(), {})).xxh128; }
  std::string notes() const { return folder.path() + "/uploads"; }
  PutSource source() const { return {.fd = fd.get(), .size_bytes = bytes}; }
};

s3::Options noting(s3::Options options, const std::string& notes) {
  options.notes_folder = notes;
  options.parallel_parts = 2;
  options.stall_timeout = std::chrono::seconds(30);
  return options;
}

struct Uploads {
  std::vector<std::string> ids;
  std::set<std::uint64_t> parts;  // of the first
};

// What the store itself says.
Uploads uploads_of(const S3Subject& subject) {
  s3::S3Client client(subject.options());
  s3::Call call;
  call.query = {{"uploads", ""}, {"prefix", client.list_prefix("")}};
  call.what = "list uploads";
  Uploads found;
  for (const auto& upload : value_of(s3::parse_uploads(value_of(client.call(call)).body)).uploads)
    found.ids.push_back(upload.id);
  if (found.ids.empty()) return found;
  call.key = kKey;
  call.query = {{"uploadId", found.ids.front()}};
  for (const auto& part : value_of(s3::parse_parts(value_of(client.call(call)).body)).parts)
    found.parts.insert(part.number);
  return found;
}

// The part that a logged request sends; 0: it sends none.
std::uint64_t part_sent(const std::string& request) {
  const std::string name = "partNumber=";
  const auto at = request.find(name);
  return request.starts_with("PUT ") && at != std::string::npos
             ? std::stoull(request.substr(at + name.size()))
             : 0;
}

void upload_until_killed(const ProxiedS3& proxied, const Film& film, std::size_t after) {
  proxied.direct.pass_to_child();
  ::setenv("MEDIAFS_TEST_FILM", film.path.c_str(), 1);
  ::setenv("MEDIAFS_TEST_NOTES", film.notes().c_str(), 1);
  ::setenv("MEDIAFS_TEST_KILL_AFTER", std::to_string(after).c_str(), 1);
  std::string self = "/proc/self/exe";
  std::string all = "--no-skip";
  std::string filter = "--test-case=child: upload";
  char* const argv[] = {self.data(), all.data(), filter.data(), nullptr};
  pid_t child = 0;
  REQUIRE(::posix_spawn(&child, self.c_str(), nullptr, nullptr, argv, environ) == 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGKILL);
}

void check_object(const S3Subject& subject, const Film& film) {
  const auto vault = subject.open();
  const ObjectInfo head = value_of(vault->head(kKey));
  CHECK(head.size_bytes == film.bytes);
  CHECK(head.meta.checksum == film.meta.checksum);
  Hasher hasher(Hasher::Want{});
  for (std::size_t at = 0; at < film.bytes; at += 16U << 20U) {
    const std::size_t size = std::min<std::size_t>(16U << 20U, film.bytes - at);
    const std::string bytes = value_of(read_bytes(*vault, {kKey, at, size, head.etag}));
    hasher.update(std::as_bytes(std::span(bytes)));
  }
  CHECK(hasher.finish().xxh128 == film.meta.checksum);
  CHECK(subject.garbage() == 0);
  CHECK(list_all(*vault).size() == 1);
}

}  // namespace

TEST_CASE("child: upload" * doctest::skip()) {
  const S3Subject subject = S3Subject::from_parent();
  const auto vault = s3::open_s3_vault(
      noting(ProxiedS3::through_proxy(subject.options()), environment("MEDIAFS_TEST_NOTES")));
  const Fd fd = value_of(open_at(AT_FDCWD, environment("MEDIAFS_TEST_FILM"), O_RDONLY | O_CLOEXEC));
  ObjectMeta meta = some_meta();
  meta.checksum = value_of(hash_fd(fd.get(), {})).xxh128;
  PutSource what{.fd = fd.get(),
                 .size_bytes = static_cast<std::uint64_t>(value_of(stat_fd(fd.get())).st_size)};
  std::uint64_t sent = 0;
  const std::uint64_t most = number_from("MEDIAFS_TEST_KILL_AFTER", 0);
  what.progress = [&](std::uint64_t bytes) {
    sent += bytes;
    if (sent > most) ::kill(::getpid(), SIGKILL);
  };
  const auto ended = vault->put(kKey, what, meta, {});
  FAIL((ended ? std::string("it was not killed") : ended.error().message()));
}

TEST_CASE(
    "s3 resume, S3Subject: an upload that is killed again and again sends no part twice that was there") {
  MEDIAFS_SUBJECT(ProxiedS3, proxied);
  const Film film;
  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::minstd_rand random(seed);
  const std::size_t kills = number_from("MEDIAFS_TEST_KILLS", 2);
  std::set<std::uint64_t> had;
  std::string id;
  std::size_t resent = 0;
  std::size_t seen = 0;
  const auto look = [&] {
    const auto requests = ProxiedS3::requests(seen);
    seen += requests.size();
    for (const std::string& request : requests) resent += had.count(part_sent(request));
  };
  for (std::size_t kill = 1; kill <= kills; ++kill) {
    const std::size_t share = film.bytes / (kills + 1);
    const std::size_t after =
        share * (kill - 1) + std::uniform_int_distribution<std::size_t>(share / 2, share)(random);
    CAPTURE(after);
    upload_until_killed(proxied, film, after);
    look();
    const Uploads there = uploads_of(proxied.direct);
    REQUIRE(there.ids.size() == 1);
    CHECK((id.empty() || there.ids.front() == id));
    CHECK(std::includes(there.parts.begin(), there.parts.end(), had.begin(), had.end()));
    id = there.ids.front();
    had = there.parts;
    CHECK(code_of(proxied.direct.open()->head(kKey)) == ErrorCode::not_found);
    // What the next start does first leaves it.
    check_ok(s3::open_s3_vault(noting(proxied.options(), film.notes()))->collect_garbage());
  }
  CHECK_FALSE(had.empty());
  const auto vault = s3::open_s3_vault(noting(proxied.options(), film.notes()));
  std::uint64_t progress = 0;
  PutSource what = film.source();
  what.progress = [&](std::uint64_t bytes) { progress += bytes; };
  CHECK(value_of(vault->put(kKey, what, film.meta, {})).checksum == film.meta.checksum);
  look();
  CHECK(progress == film.bytes);
  CHECK(resent == 0);
  CHECK(std::filesystem::is_empty(film.notes()));
  check_object(proxied.direct, film);
}

TEST_CASE("s3 resume, S3Subject: a file that changed gets an upload of its own, and the old one is aborted") {
  MEDIAFS_SUBJECT(ProxiedS3, proxied);
  Film film;
  upload_until_killed(proxied, film, film.bytes / 2);
  const Uploads before = uploads_of(proxied.direct);
  REQUIRE(before.ids.size() == 1);
  SUBCASE("its bytes") {
    film.write(film.bytes - 1, "!");
    film.sum();
  }
  SUBCASE("its time only") {
    film.meta.mtime_ns += 1;
  }
  const auto vault = s3::open_s3_vault(noting(proxied.options(), film.notes()));
  value_of(vault->put(kKey, film.source(), film.meta, {}));
  check_object(proxied.direct, film);
}

TEST_CASE(
    "s3 resume, S3Subject: an upload that failed or was stopped goes on, unless the failure will stay") {
  MEDIAFS_SUBJECT(ProxiedS3, proxied);
  const Film film;
  const auto vault = s3::open_s3_vault(noting(proxied.options(), film.notes()));
  SUBCASE("the server failed") {
    ProxiedS3::rule("partNumber=6", "status&status=500");
    CHECK(code_of(vault->put(kKey, film.source(), film.meta, {})) == ErrorCode::io);
  }
  SUBCASE("it was stopped") {
    std::stop_source stop;
    PutSource what = film.source();
    std::uint64_t sent = 0;
    what.progress = [&](std::uint64_t bytes) {
      if ((sent += bytes) > film.bytes / 2) stop.request_stop();
    };
    CHECK(code_of(vault->put(kKey, what, film.meta, stop.get_token())) == ErrorCode::cancelled);
  }
  SUBCASE("the file is another one: nothing is kept") {
    ObjectMeta wrong = film.meta;
    wrong.checksum = Xxh128{1, 2, 3};
    CHECK(code_of(vault->put(kKey, film.source(), wrong, {})) == ErrorCode::changed);
    CHECK(proxied.direct.garbage() == 0);
    return;
  }
  const Uploads there = uploads_of(proxied.direct);
  REQUIRE(there.ids.size() == 1);
  CHECK_FALSE(there.parts.empty());
  ProxiedS3::post("/reset");
  value_of(vault->put(kKey, film.source(), film.meta, {}));
  for (const std::string& request : ProxiedS3::requests()) CHECK(there.parts.count(part_sent(request)) == 0);
  check_object(proxied.direct, film);
}

TEST_CASE("s3 resume, S3Subject: garbage is what nobody noted, or what nobody went on with for a week") {
  MEDIAFS_SUBJECT(ProxiedS3, proxied);
  const Film film;
  upload_until_killed(proxied, film, film.bytes / 2);
  const auto vault = s3::open_s3_vault(noting(proxied.options(), film.notes()));
  check_ok(vault->collect_garbage());
  CHECK(proxied.direct.garbage() == 1);
  SUBCASE("a week") {
    std::size_t count = 0;
    for (const auto& note : std::filesystem::directory_iterator(film.notes())) {
      std::filesystem::last_write_time(
          note.path(), std::filesystem::file_time_type::clock::now() - std::chrono::hours(7 * 24 + 1));
      ++count;
    }
    CHECK(count == 1);
    check_ok(vault->collect_garbage());
  }
  SUBCASE("nobody") {
    check_ok(s3::open_s3_vault(noting(proxied.options(), film.notes() + "-other"))->collect_garbage());
  }
  CHECK(proxied.direct.garbage() == 0);
  value_of(vault->put(kKey, film.source(), film.meta, {}));  // the note, where there is one, is not believed
  check_object(proxied.direct, film);
}

// Run by s3_large.py, in a process of its own.
TEST_CASE("child: a large file" * doctest::skip()) {
  s3::Options options = s3::Options();
  options.tls = false;
  options.host = environment("MEDIAFS_TEST_S3_ENDPOINT").substr(std::string("http://").size());
  options.bucket = "films";
  options.credentials.access_key = "a";
  options.credentials.secret_key = "bbbb";
  const Fd fd = value_of(open_at(AT_FDCWD, environment("MEDIAFS_TEST_FILM"), O_RDONLY | O_CLOEXEC));
  const auto size = static_cast<std::uint64_t>(value_of(stat_fd(fd.get())).st_size);
  ObjectMeta meta = some_meta();
  meta.checksum = value_of(hash_fd(fd.get(), {})).xxh128;
  const auto put =
      value_of(s3::open_s3_vault(options)->put("f", {.fd = fd.get(), .size_bytes = size}, meta, {}));
  CHECK(put.info.size_bytes == size);
  struct rusage used {};
  REQUIRE(::getrusage(RUSAGE_SELF, &used) == 0);
  MESSAGE("peak_kib=" << used.ru_maxrss);
}

TEST_CASE("s3: parts are sized for 10,000 of them") {
  constexpr std::uint64_t kMiB = 1U << 20U;
  constexpr std::uint64_t kGiB = kMiB << 10U;
  const auto least = s3::Options().min_part;
  CHECK(least == 16 * kMiB);
  CHECK(s3::part_size(65 * kMiB, least) == least);
  CHECK(s3::divided_up(100 * kGiB, s3::part_size(100 * kGiB, least)) == 6400);
  for (const std::uint64_t size : {10'000 * least, 10'000 * least + 1, 1024 * kGiB, 5 * 1024 * kGiB}) {
    const std::uint64_t part = s3::part_size(size, least);
    CAPTURE(size);
    CHECK(s3::divided_up(size, part) <= 10'000);
    CHECK(part % kMiB == 0);
    CHECK(part <= 5 * kGiB);
  }
  CHECK(s3::part_size(10'000 * least, least) == least);
  CHECK(s3::part_size(10'000 * least + 1, least) == least + kMiB);
}

}  // namespace mediafs::tier::test
