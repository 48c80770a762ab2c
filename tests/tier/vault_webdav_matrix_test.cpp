// Every fault in every kind of WebDAV request: what comes out, how long it may take, and what stands on the server afterwards.
#include <atomic>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "common/http.h"
#include "tests/common/http_server.h"
#include "tests/tier/vault_contract.h"

namespace mediafs::tier::test {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kSmall = 3000;
constexpr std::size_t kThreads = 12;
constexpr milliseconds kStall{1000};
constexpr milliseconds kDeadline{3000};
constexpr std::chrono::seconds kLongest{
    60};  // of any call: several requests of three tries each, on a slow machine

// A request of each kind, as the proxy sees it; @ stands for the cell's folder.
struct Column {
  const char* name;
  const char* match;
};
constexpr Column kColumns[] = {{"put", "^PUT [^ ]*@/"},
                               {"read back", "^GET [^ ]*@/[.]mediafs/tmp/"},
                               {"properties", "^PROPPATCH [^ ]*@/"},
                               {"move", "^MOVE [^ ]*@/"},
                               {"mkcol", "^MKCOL [^ ]*@/new"},
                               {"get", "^GET [^ ]*@/obj "},
                               {"head", "^PROPFIND [^ ]*@/obj "},
                               {"list", "^PROPFIND [^ ]*@/ "},
                               {"copy", "^COPY [^ ]*@/obj "},
                               {"delete", "^DELETE [^ ]*@/obj "}};
constexpr std::size_t kColumnCount = std::size(kColumns);
constexpr std::size_t kSending = 5;  // the first ones are parts of a put

// What the vault's call says, in the columns' order. "ok" after a fault: mended, or found to be done.
struct Row {
  const char* name;
  const char* fault;  // as the proxy takes it; "": see options_of
  const char* outcomes;
};
constexpr Row kRows[] = {
    {"refused", "", "offline offline offline offline offline offline offline offline offline offline"},
    {"wrong name in TLS", "", "io io io io io io io io io io"},
    {"black hole", "hole", "timeout timeout timeout timeout timeout timeout timeout timeout timeout timeout"},
    {"stall in the answer", "stall",
     "timeout timeout timeout ok timeout timeout timeout timeout timeout timeout"},
    {"reset on the way there", "reset_up", "io io io io io io io io io io"},
    {"reset on the way back", "reset_down", "io io io ok io io io io io io"},
    {"truncated answer", "truncate", "io io io ok io io io io io io"},
    {"500", "status&status=500", "io io io io io io io io io io"},
    {"500 twice", "status&status=500&count=2", "ok ok ok ok ok ok ok ok ok ok"},
    {"503", "status&status=503",
     "offline offline offline offline offline offline offline offline offline offline"},
    {"429", "status&status=429",
     "throttled throttled throttled throttled throttled throttled throttled throttled throttled throttled"},
    {"429, wait a minute", "status&status=429&retry_after=60",
     "throttled:60 throttled:60 throttled:60 throttled:60 throttled:60 throttled:60 throttled:60 "
     "throttled:60 throttled:60 throttled:60"},
    {"401", "status&status=401",
     "credentials credentials credentials credentials credentials credentials credentials credentials "
     "credentials credentials"},
    {"403", "status&status=403",
     "permission permission ok permission permission permission permission permission permission permission"},
    {"412", "status&status=412",
     "changed unsupported changed changed changed changed changed changed changed changed"},
    {"507", "status&status=507",
     "no_space no_space no_space no_space no_space no_space no_space no_space no_space no_space"},
    {"lost answer", "lose", "io io io ok io io io io io io"},
    {"wrong bytes and ETags", "flip", "ok unsupported ok ok ok changed ok ok ok ok"},
    {"wrong length", "length", "ok unsupported io ok io changed io io ok ok"},
    {"no XML", "garbage", "ok unsupported ok corrupt ok unsupported io io ok ok"},
    {"redirect", "status&status=307&location=http://elsewhere.example/",
     "config config config config config config config config config config"},
    {"slow drip", "drip", "timeout timeout timeout ok timeout timeout timeout timeout timeout timeout"},
};

struct Cell {
  std::size_t row = 0;
  std::size_t column = 0;
  std::string expected;
  std::string got;      // as the table writes it
  std::string message;  // of the error
  std::string damage;   // what is wrong on the server afterwards
  std::chrono::steady_clock::duration took{};
  std::string folder() const { return "r" + std::to_string(100 + row) + "c" + std::to_string(column); }
};

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

bool control(const std::string& what) {
  http::Client client;
  http::Request request;
  request.method = "POST";
  request.url = environment("MEDIAFS_TEST_DAV_PROXY_CONTROL") + what;
  const auto answer = client.perform(std::move(request));
  return answer && answer->status == 200;
}

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

webdav::Options options_of(const Cell& cell, webdav::Options options, int closed_port) {
  const std::string name = kRows[cell.row].name;
  if (name == "refused") {
    options.host = "127.0.0.1:" + std::to_string(closed_port);
  } else if (name.ends_with("TLS")) {
    options.tls = true;
    options.host = environment("MEDIAFS_TEST_TLS");
    options.ca_file = environment("MEDIAFS_TEST_TLS_CA");
  } else {
    const std::string proxy = environment("MEDIAFS_TEST_DAV_PROXY");
    options.host = proxy.substr(proxy.find("//") + 2);
    while (options.host.ends_with('/')) options.host.pop_back();
  }
  options.stall_timeout = options.slow_answer = kStall;
  options.deadline = kDeadline;
  return options;
}

Status ask(Vault& vault, std::size_t column, const std::string& etag, const Source& source) {
  const std::string name = kColumns[column].name;
  if (name == "mkcol") return status_of(vault.put("new/obj", source.put(), some_meta(), {}));
  if (column < kSending) return status_of(vault.put("obj", source.put(), some_meta(), {}));
  if (name == "get") {
    std::string into(kSmall, '\0');
    return status_of(vault.read({"obj", 0, kSmall, etag}, std::as_writable_bytes(std::span(into))));
  }
  if (name == "head") return status_of(vault.head("obj"));
  if (name == "copy") return status_of(vault.copy("obj", "copied", some_meta(), {}));
  if (name == "delete") return vault.remove("obj");
  return vault.list("", [](std::vector<ObjectInfo>&&) { return true; }, {});
}

// What stands under the key: whole, one of `may_be`, or nothing ("").
std::string damage_in(Vault& direct, const std::string& key, const std::vector<std::string>& may_be) {
  const auto head = direct.head(key);
  if (!head && head.error().code != ErrorCode::not_found) return head.error().message();
  std::string into;
  if (head) {
    into.resize(head->size_bytes);
    const auto read = direct.read({key, 0, into.size(), head->etag}, std::as_writable_bytes(std::span(into)));
    if (!read) return read.error().message();
  }
  for (const std::string& bytes : may_be) {
    if (bytes == into) return "";
  }
  return key + (head ? " has other bytes" : " is not there");
}

// No assertions of ours here: it runs on a thread of its own.
void run(Cell& cell, webdav::Options options, int closed_port) {
  const std::string column = kColumns[cell.column].name;
  const bool sends = cell.column < kSending;
  const std::string old_bytes = make_bytes(kSmall, 4);
  const std::string new_bytes = make_bytes(kSmall + 1, 5);
  options.root += "/" + cell.folder();
  const auto direct = webdav::open_webdav_vault(options);
  const Source old_source(old_bytes);
  const Source source(new_bytes);
  std::string etag;
  auto put = direct->probe() ? direct->put("obj", old_source.put(), some_meta(), {})
                             : Result<PutResult>(make_error(ErrorCode::io, "its folder can't be made"));
  if (!put) cell.damage = put.error().message();
  if (put) etag = put->info.etag;
  const auto vault = webdav::open_webdav_vault(options_of(cell, options, closed_port));
  const auto began = std::chrono::steady_clock::now();
  const Status status = ask(*vault, cell.column, etag, source);
  cell.took = std::chrono::steady_clock::now() - began;
  cell.got = outcome_of(status);
  if (!status) cell.message = status.error().message();
  std::vector<std::string> obj{old_bytes};
  if (sends && column != "mkcol") {
    // A new version without its metadata is there, and sent again; the old one is whole until then.
    obj = status ? std::vector{new_bytes} : std::vector{old_bytes, new_bytes};
  }
  if (column == "delete")
    obj = status ? std::vector<std::string>{""} : std::vector<std::string>{old_bytes, ""};
  cell.damage += damage_in(*direct, "obj", obj);
  if (column == "copy")
    cell.damage +=
        damage_in(*direct, "copied", status ? std::vector{old_bytes} : std::vector{old_bytes, std::string()});
  if (column == "mkcol")
    cell.damage +=
        damage_in(*direct, "new/obj", status ? std::vector{new_bytes} : std::vector{std::string()});
}

}  // namespace

TEST_CASE("webdav faults, DavSubject: every fault in every request") {
  MEDIAFS_SUBJECT(DavSubject, subject);
  if (environment("MEDIAFS_TEST_DAV_PROXY").empty() || environment("MEDIAFS_TEST_TLS").empty()) {
    MESSAGE(
        "skipped: no fault proxy, or no server with a wrong name (MEDIAFS_TEST_DAV_PROXY, MEDIAFS_TEST_TLS)");
    return;
  }
  REQUIRE(control("/reset"));
  std::vector<Cell> cells;
  for (std::size_t row = 0; row < std::size(kRows); ++row) {
    std::istringstream outcomes(kRows[row].outcomes);
    for (std::size_t column = 0; column < kColumnCount; ++column) {
      Cell cell;
      cell.row = row;
      cell.column = column;
      outcomes >> cell.expected;
      std::string match = kColumns[column].match;
      match.replace(match.find('@'), 1, cell.folder());
      if (*kRows[row].fault != '\0') {
        REQUIRE(control("/rule?match=" + http::percent_encode(match, false) + "&fault=" + kRows[row].fault));
      }
      cells.push_back(std::move(cell));
    }
  }
  const int closed_port = mediafs::test::unused_port();
  std::atomic<std::size_t> next{0};
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        for (std::size_t at = next++; at < cells.size(); at = next++)
          run(cells[at], subject.options(), closed_port);
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
  CHECK(control("/reset"));
}

}  // namespace mediafs::tier::test
