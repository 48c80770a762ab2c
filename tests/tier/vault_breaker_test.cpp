// The fuse before a driver: what opens it, who may try, what closes it.
#include "tier/vault/breaker.h"

#include <deque>

#include "tests/tier/vault_contract.h"
#include "tier/vault/rate.h"

namespace mediafs::tier::test {

namespace {

// Answers what it is told to; counts what reaches it.
class Scripted final : public Vault {
 public:
  explicit Scripted(int& calls, std::optional<Error>& answer) : calls_(calls), answer_(answer) {}
  std::string describe() const override { return "scripted"; }
  Status probe() override { return said(); }
  Result<PutResult> put(const std::string&, const PutSource&, const ObjectMeta&, std::stop_token) override {
    MEDIAFS_TRY(said());
    return PutResult{};
  }
  Result<ObjectInfo> head(const std::string&) override {
    MEDIAFS_TRY(said());
    return ObjectInfo{};
  }
  std::uint64_t start_read(ReadRequest, std::function<bool(std::span<const std::byte>)>,
                           std::function<void(Status)> on_done) override {
    ++calls_;
    done_.push_back(std::move(on_done));
    return done_.size();
  }
  void cancel(std::uint64_t) override {}
  Result<ObjectInfo> copy(const std::string&, const std::string&, const ObjectMeta&,
                          std::stop_token) override {
    MEDIAFS_TRY(said());
    return ObjectInfo{};
  }
  Status remove(const std::string&) override { return said(); }
  Status list(const std::string&, const std::function<bool(std::vector<ObjectInfo>&&)>&,
              std::stop_token) override {
    return said();
  }
  Status collect_garbage() override { return said(); }
  void finish_read() {
    const auto done = std::move(done_.front());
    done_.pop_front();
    done(answer_ ? Status(*answer_) : Status());
  }

 private:
  Status said() {
    ++calls_;
    return answer_ ? Status(*answer_) : Status();
  }
  int& calls_;
  std::optional<Error>& answer_;
  std::deque<std::function<void(Status)>> done_;
};

struct Rig {
  ManualClock clock;
  int calls = 0;
  std::optional<Error> answer;
  Scripted* driver = new Scripted(calls, answer);  // NOLINT: the breaker's
  BreakerVault vault{std::unique_ptr<Vault>(driver), clock};

  void says(ErrorCode code, std::int64_t retry_after_ms = 0) {
    answer = make_error(code, "call", "HTTP");
    answer->retry_after_ms = retry_after_ms;
  }
  // Every kind of call fails at once with `code`, and none reaches the driver.
  void check_open(ErrorCode code) {
    const int before = calls;
    const Source source("x");
    CHECK(code_of(vault.probe()) == code);
    CHECK(code_of(vault.put("a", source.put(), {}, {})) == code);
    CHECK(code_of(vault.head("a")) == code);
    CHECK(code_of(vault.copy("a", "b", {}, {})) == code);
    CHECK(code_of(vault.remove("a")) == code);
    CHECK(code_of(vault.list("", {}, {})) == code);
    CHECK(code_of(vault.collect_garbage()) == code);
    const auto read = read_bytes(vault, {"a", 0, 1, ""});
    CHECK(code_of(read) == code);
    CHECK(read.error().retry_after_ms > 0);
    CHECK(read.error().what == "read vault object a");
    CHECK(calls == before);
  }
};

}  // namespace

TEST_CASE("breaker: a server that asks to slow down is left alone for as long as it says") {
  Rig rig;
  rig.says(ErrorCode::throttled, 10'000);
  CHECK(code_of(rig.vault.remove("a")) == ErrorCode::throttled);
  rig.check_open(ErrorCode::throttled);
  CHECK(rig.vault.head("a").error().retry_after_ms == 10'000);
  rig.clock.advance(std::chrono::milliseconds(9'999));
  rig.check_open(ErrorCode::throttled);
  rig.clock.advance(std::chrono::milliseconds(1));
  rig.answer.reset();
  check_ok(rig.vault.remove("a"));
  check_ok(rig.vault.remove("b"));
  CHECK(rig.calls == 3);
}

TEST_CASE("breaker: one call at a time tries; each that is refused doubles the pause, up to half a minute") {
  Rig rig;
  rig.says(ErrorCode::credentials);
  CHECK(code_of(rig.vault.probe()) == ErrorCode::credentials);
  std::chrono::seconds pause(5);
  for (int i = 0; i < 6; ++i) {
    rig.check_open(ErrorCode::credentials);
    rig.clock.advance(pause - std::chrono::milliseconds(1));
    rig.check_open(ErrorCode::credentials);
    rig.clock.advance(std::chrono::milliseconds(1));
    const int before = rig.calls;
    rig.vault.start_read({"a", 0, 1, ""}, {}, [](const Status&) {});
    CHECK(rig.calls == before + 1);
    rig.check_open(ErrorCode::credentials);  // while that one is under way
    rig.driver->finish_read();
    pause = std::min(pause * 2, std::chrono::seconds(30));
  }
  // A minute is the most that is believed.
  rig.says(ErrorCode::throttled, 3'600'000);
  rig.clock.advance(std::chrono::seconds(30));
  CHECK(code_of(rig.vault.probe()) == ErrorCode::throttled);
  rig.clock.advance(std::chrono::milliseconds(59'999));
  rig.check_open(ErrorCode::throttled);
  rig.clock.advance(std::chrono::seconds(60));
  rig.answer.reset();
  check_ok(rig.vault.probe());
  check_ok(rig.vault.probe());
}

TEST_CASE("breaker: one denied object is not the vault, but nothing but denials is") {
  Rig rig;
  for (int i = 0; i < 10; ++i) {
    rig.says(ErrorCode::permission);
    for (int k = 0; k < 2; ++k) CHECK(code_of(rig.vault.head("denied")) == ErrorCode::permission);
    if (i % 2 == 0) rig.answer.reset();
    if (i % 2 == 1) rig.says(ErrorCode::not_found);
    [[maybe_unused]] const auto other = rig.vault.head("other");
  }
  CHECK(rig.calls == 30);
  rig.says(ErrorCode::permission);
  for (int k = 0; k < 3; ++k) CHECK(code_of(rig.vault.head("a")) == ErrorCode::permission);
  rig.check_open(ErrorCode::permission);
  rig.clock.advance(std::chrono::seconds(5));
  rig.says(ErrorCode::not_found);
  CHECK(code_of(rig.vault.head("a")) == ErrorCode::not_found);
  rig.answer.reset();
  check_ok(rig.vault.probe());
}

TEST_CASE("breaker: other failures don't open it, and a trial that met one is tried again") {
  Rig rig;
  for (const ErrorCode code : {ErrorCode::offline, ErrorCode::timeout, ErrorCode::io, ErrorCode::not_found,
                               ErrorCode::corrupt, ErrorCode::no_space, ErrorCode::cancelled}) {
    rig.says(code);
    for (int i = 0; i < 5; ++i) CHECK(code_of(rig.vault.head("a")) == code);
  }
  CHECK(rig.calls == 35);
  rig.says(ErrorCode::throttled);
  CHECK(code_of(rig.vault.probe()) == ErrorCode::throttled);
  rig.clock.advance(std::chrono::seconds(1));
  rig.says(ErrorCode::cancelled);
  CHECK(code_of(rig.vault.probe()) == ErrorCode::cancelled);
  rig.says(ErrorCode::offline);
  CHECK(code_of(rig.vault.probe()) == ErrorCode::offline);
  rig.answer.reset();
  check_ok(rig.vault.probe());
}

TEST_CASE("breaker: a call that began before it opened does not close it") {
  Rig rig;
  rig.vault.start_read({"a", 0, 1, ""}, {}, [](const Status& status) { check_ok(status); });
  rig.says(ErrorCode::throttled);
  CHECK(code_of(rig.vault.probe()) == ErrorCode::throttled);
  rig.answer.reset();
  rig.driver->finish_read();
  rig.check_open(ErrorCode::throttled);
}

TEST_CASE("retries: a few beside a share of what went well") {
  RetryBudget budget;
  int taken = 0;
  while (taken < 1000 && budget.take()) ++taken;
  CHECK(taken >= 50);
  CHECK(taken < 100);  // it fills up by one a second meanwhile
  for (int i = 0; i < 200; ++i) budget.went_well();
  for (int i = 0; i < 19; ++i) CHECK(budget.take());
}

}  // namespace mediafs::tier::test
