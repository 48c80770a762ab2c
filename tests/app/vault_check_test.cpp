#include "app/vault_check.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "tests/common/temp_dir.h"

using namespace mediafs;
using namespace mediafs::app;

namespace {

std::unique_ptr<tier::Vault> directory_vault(const std::string& path) {
  Config config;
  config.vault.url = "file://" + path;
  auto vault = tier::open_vault(config, {});
  REQUIRE(vault);
  return std::move(*vault);
}

// A directory, but for what is said.
class Faulty final : public tier::Vault {
 public:
  explicit Faulty(std::unique_ptr<tier::Vault> inner) : inner_(std::move(inner)) {}
  bool no_put = false, no_mtime = false, no_copy = false, forgets = false;

  std::string describe() const override { return inner_->describe(); }
  Status probe() override { return inner_->probe(); }
  Result<tier::PutResult> put(const std::string& key, const tier::PutSource& source,
                              const tier::ObjectMeta& meta, std::stop_token stop) override {
    if (no_put) return make_error(ErrorCode::permission, "put " + key, "not allowed");
    return inner_->put(key, source, meta, std::move(stop));
  }
  Result<tier::ObjectInfo> head(const std::string& key) override {
    auto info = inner_->head(key);
    if (info && no_mtime) info->meta.mtime_ns = 1;
    return info;
  }
  std::uint64_t start_read(tier::ReadRequest request,
                           std::function<bool(std::span<const std::byte>)> on_bytes,
                           std::function<void(Status)> on_done) override {
    if (forgets) request.if_match.clear();
    return inner_->start_read(std::move(request), std::move(on_bytes), std::move(on_done));
  }
  void cancel(std::uint64_t read) override { inner_->cancel(read); }
  Result<tier::ObjectInfo> copy(const std::string& from, const std::string& to, const tier::ObjectMeta& meta,
                                std::stop_token stop) override {
    if (no_copy) return make_error(ErrorCode::unsupported, "copy " + from, "501");
    return inner_->copy(from, to, meta, std::move(stop));
  }
  Status remove(const std::string& key) override { return inner_->remove(key); }
  Status list(const std::string& prefix, const std::function<bool(std::vector<tier::ObjectInfo>&&)>& page,
              std::stop_token stop) override {
    return inner_->list(prefix, page, std::move(stop));
  }
  Status collect_garbage() override { return inner_->collect_garbage(); }

 private:
  std::unique_ptr<tier::Vault> inner_;
};

std::string grades(tier::Vault& vault) {
  VaultCheck small;
  small.size_bytes = 200'000;
  std::string told, text;
  small.on_step = [&](const VaultStep& step) { told += step.name; };
  for (const VaultStep& step : check_vault(vault, small)) {
    static constexpr const char* kMarks[] = {"", " lacking", " failed"};
    text += (text.empty() ? "" : ", ") + step.name + kMarks[static_cast<std::size_t>(step.grade)];
    CHECK(told.starts_with(step.name));
    told.erase(0, step.name.size());
  }
  return text;
}

std::size_t files_in(const std::string& path) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path))
    files += entry.is_regular_file() ? 1 : 0;
  return files;
}

}  // namespace

TEST_CASE("a vault that can do it all is found to, and keeps nothing of the test") {
  test::TempDir dir;
  auto vault = directory_vault(dir.path());
  CHECK(grades(*vault) == "answers, upload, metadata, read, ranges, versions, copy, list, delete");
  CHECK(files_in(dir.path()) == 0);
}

TEST_CASE("what a vault can't do is told, and the rest is tried all the same") {
  test::TempDir dir;
  Faulty vault(directory_vault(dir.path()));
  vault.no_put = true;
  CHECK(grades(vault) == "answers, upload failed");
  vault.no_put = false;
  vault.no_mtime = true;
  vault.no_copy = true;
  vault.forgets = true;
  CHECK(grades(vault) ==
        "answers, upload, metadata lacking, read, ranges, versions failed, copy failed, list, delete");
  CHECK(files_in(dir.path()) == 0);
}
