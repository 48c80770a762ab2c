// Every fault in every kind of request: what comes out, how long it may take, and what stands in the store afterwards.
#include <atomic>
#include <mutex>
#include <sstream>
#include <thread>

#include "tests/common/http_server.h"
#include "tests/tier/s3_proxied.h"

namespace mediafs::tier::test {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kSmall = 3000;
constexpr std::size_t kThreads = 12;
constexpr milliseconds kStall{1500};
constexpr milliseconds kDeadline{4000};
constexpr std::chrono::seconds kLongest{30};  // of any call: three tries, each with pauses, on a slow machine

// A request of each kind, as the proxy sees it; @ stands for the cell's folder.
struct Column {
  const char* name;
  const char* match;
};
constexpr Column kColumns[] = {{"put", "^PUT [^ ?]*@/obj "},
                               {"part", "^PUT [^ ]*@/obj[?]partNumber="},
                               {"complete", "^POST [^ ]*@/obj[?]uploadId="},
                               {"get", "^GET [^ ?]*@/obj "},
                               {"head", "^HEAD [^ ?]*@/obj "},
                               {"list", "^GET [^ ]*list-type=2[^ ]*@"},
                               {"copy", "^PUT [^ ?]*@/copied "},
                               {"delete", "^DELETE [^ ?]*@/obj "}};
constexpr std::size_t kColumnCount = std::size(kColumns);

// What the vault's call says, in the columns' order. "ok" after a fault: mended, or found to be done.
struct Row {
  const char* name;
  const char* fault;  // as the proxy takes it; "": see options_of
  const char* outcomes;
};
constexpr Row kRows[] = {
    {"refused", "", "offline offline offline offline offline offline offline offline"},
    {"wrong name in TLS", "", "io io io io io io io io"},
    {"black hole", "hole", "timeout timeout timeout timeout timeout timeout timeout timeout"},
    {"stall in the answer", "stall", "ok timeout ok timeout timeout timeout timeout timeout"},
    {"reset on the way there", "reset_up", "io io io io io io io io"},
    {"reset on the way back", "reset_down", "ok io ok io io io io io"},
    {"truncated answer", "truncate", "ok io ok io io io io io"},
    {"500", "status&status=500", "io io io io io io io io"},
    {"500 twice", "status&status=500&count=2", "ok ok ok ok ok ok ok ok"},
    {"503", "status&status=503",
     "throttled throttled throttled throttled offline throttled throttled throttled"},
    {"429", "status&status=429",
     "throttled throttled throttled throttled throttled throttled throttled throttled"},
    {"429, wait a minute", "status&status=429&retry_after=60",
     "throttled:60 throttled:60 throttled:60 throttled:60 throttled:60 throttled:60 throttled:60 "
     "throttled:60"},
    {"403, expired", "status&status=403&code=ExpiredToken",
     "credentials credentials credentials credentials permission credentials credentials credentials"},
    {"412", "status&status=412&code=PreconditionFailed",
     "changed changed changed changed changed changed changed changed"},
    {"lost answer", "lose", "ok io ok io io io io io"},
    {"wrong bytes and ETags", "flip", "corrupt invalid ok changed ok ok changed ok"},
    {"wrong length", "length", "ok io ok changed ok io io ok"},
    {"no XML", "garbage", "ok io ok unsupported io io io ok"},
    {"redirect", "status&status=307&location=http://elsewhere.example/",
     "config config config config config config config config"},
    {"slow drip", "drip", "ok timeout ok timeout timeout timeout timeout timeout"},
};

struct Cell {
  std::size_t row = 0;
  std::size_t column = 0;
  std::string expected;
  std::string got;      // as the table writes it
  std::string message;  // of the error
  std::string damage;   // what is wrong in the store afterwards
  std::chrono::steady_clock::duration took{};
  std::string folder() const { return "r" + std::to_string(100 + row) + "c" + std::to_string(column); }
};

std::string outcome_of(const Status& status) {
  if (status) return "ok";
  std::string text(to_string(status.error().code));
  if (status.error().retry_after_ms > 0) text += ":" + std::to_string(status.error().retry_after_ms / 1000);
  return text;
}

template <class T>
Status status_of(const Result<T>& result) {
  return result ? Status() : Status(result.error());
}

s3::Options options_of(const Cell& cell, s3::Options options, int closed_port) {
  const std::string name = kRows[cell.row].name;
  if (name == "refused") {
    options.host = "127.0.0.1:" + std::to_string(closed_port);
  } else if (name.ends_with("TLS")) {
    options.tls = true;
    options.host = environment("MEDIAFS_TEST_TLS");
    options.ca_file = environment("MEDIAFS_TEST_TLS_CA");
  } else {
    options = ProxiedS3::through_proxy(options);
  }
  options.stall_timeout = options.slow_answer = kStall;
  options.deadline = kDeadline;
  options.multipart_above = std::string(kColumns[cell.column].name) == "put" ? kSmall : kSmall - 1;
  return options;
}

Status ask(Vault& vault, const std::string& column, const std::string& etag, const Source& source) {
  if (column == "put" || column == "part" || column == "complete")
    return status_of(vault.put("obj", source.put(), some_meta(), {}));
  if (column == "get") {
    std::string into(kSmall, '\0');
    return status_of(vault.read({"obj", 0, kSmall, etag}, std::as_writable_bytes(std::span(into))));
  }
  if (column == "head") return status_of(vault.head("obj"));
  if (column == "copy") return status_of(vault.copy("obj", "copied", some_meta(), {}));
  if (column == "delete") return vault.remove("obj");
  return vault.list("", [](std::vector<ObjectInfo>&&) { return true; }, {});
}

// An object is whole under its key, or not there; where the call succeeded, it is what was called for.
std::string damage_in(Vault& direct, const std::string& key, const std::string& bytes, bool must_be,
                      bool must_not) {
  const auto head = direct.head(key);
  if (!head && head.error().code != ErrorCode::not_found) return head.error().message();
  if (!head) return must_be ? key + " is not there" : "";
  if (must_not) return key + " is still there";
  std::string into(bytes.size(), '\0');
  if (head->size_bytes != bytes.size() || !head->meta.checksum) return key + " is not whole";
  const auto read = direct.read({key, 0, bytes.size(), head->etag}, std::as_writable_bytes(std::span(into)));
  return read && into == bytes ? "" : key + " has other bytes";
}

// No assertions of ours here: it runs on a thread of its own.
void run(Cell& cell, s3::Options options, int closed_port, const std::string& bytes) {
  const std::string column = kColumns[cell.column].name;
  const bool sends = cell.column < 3;
  options.prefix += "/" + cell.folder();
  const auto direct = s3::open_s3_vault(options);
  const Source source(bytes);
  std::string etag;
  if (!sends) {
    auto put = direct->put("obj", source.put(), some_meta(), {});
    if (!put) cell.damage = put.error().message();
    if (put) etag = put->info.etag;
  }
  const auto vault = s3::open_s3_vault(options_of(cell, options, closed_port));
  const auto began = std::chrono::steady_clock::now();
  const Status status = ask(*vault, column, etag, source);
  cell.took = std::chrono::steady_clock::now() - began;
  cell.got = outcome_of(status);
  if (!status) cell.message = status.error().message();
  const bool removed = column == "delete";
  cell.damage += damage_in(*direct, "obj", bytes, sends ? status.has_value() : !removed, removed && status);
  cell.damage += damage_in(*direct, "copied", bytes, column == "copy" && status, column != "copy");
  try {
    if (S3Subject(options).garbage() != 0) cell.damage += " an upload is left";
  } catch (...) {
    cell.damage += " its uploads can't be listed";
  }
}

}  // namespace

TEST_CASE("s3 matrix, S3Subject: every fault in every request") {
  MEDIAFS_SUBJECT(ProxiedS3, proxied);
  if (environment("MEDIAFS_TEST_TLS").empty()) {
    MESSAGE("skipped: no server with a wrong name (MEDIAFS_TEST_TLS is not set)");
    return;
  }
  std::vector<Cell> cells;
  for (std::size_t row = 0; row < std::size(kRows); ++row) {
    std::istringstream outcomes(kRows[row].outcomes);
    for (std::size_t column = 0; column < kColumnCount; ++column) {
      Cell cell{
          .row = row, .column = column, .expected = {}, .got = {}, .message = {}, .damage = {}, .took = {}};
      outcomes >> cell.expected;
      std::string match = kColumns[column].match;
      match.replace(match.find('@'), 1, cell.folder());
      if (*kRows[row].fault != '\0') ProxiedS3::rule(match, kRows[row].fault);
      cells.push_back(std::move(cell));
    }
  }
  const std::string bytes = make_bytes(kSmall, 5);
  const int closed_port = mediafs::test::unused_port();
  std::atomic<std::size_t> next{0};
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        for (std::size_t at = next++; at < cells.size(); at = next++)
          run(cells[at], proxied.direct.options(), closed_port, bytes);
      });
    }
  }
  for (const Cell& cell : cells) {
    const std::string where = std::string(kRows[cell.row].name) + ", " + kColumns[cell.column].name;
    CAPTURE(where);
    CAPTURE(cell.message);
    CHECK(cell.got == cell.expected);
    CHECK(cell.damage == "");
    CHECK(cell.took < kLongest);
  }
}

}  // namespace mediafs::tier::test
