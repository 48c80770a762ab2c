#include "tier/first_listing.h"

#include <chrono>
#include <deque>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "common/log.h"
#include "common/path.h"
#include "common/sync.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kPagesAhead = 4;
constexpr std::chrono::seconds kTellEvery{5};

}  // namespace

// Takes pages on one thread and writes them on another, in their order.
class FirstListing::Importing {
 public:
  explicit Importing(FirstListing& listing) : l_(listing), thread_([this] { loop(); }) {}
  ~Importing() {
    if (thread_.joinable()) static_cast<void>(finish());
  }
  Importing(const Importing&) = delete;
  Importing& operator=(const Importing&) = delete;

  bool take(std::vector<ObjectInfo>&& page) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (pages_.size() >= kPagesAhead && status_) wake_.wait(mutex_);
    if (!status_) return false;
    pages_.push_back(std::move(page));
    wake_.notify_all();
    return true;
  }

  Status finish() EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      closed_ = true;
      wake_.notify_all();
    }
    thread_.join();
    MutexLock lock(mutex_);
    return std::move(status_);
  }
  std::uint64_t found() const { return found_; }  // after finish()

 private:
  void loop() noexcept EXCLUDES(mutex_) {
    for (;;) {
      std::vector<ObjectInfo> page;
      {
        MutexLock lock(mutex_);
        while (pages_.empty() && !closed_) wake_.wait(mutex_);
        if (pages_.empty() || !status_) return;
        page = std::move(pages_.front());
        pages_.pop_front();
        wake_.notify_all();
      }
      Status written = write(std::move(page));
      if (written) continue;
      MutexLock lock(mutex_);
      status_ = std::move(written);
      wake_.notify_all();
      return;
    }
  }

  Status write(std::vector<ObjectInfo>&& page) noexcept {
    try {
      const std::size_t shown = page.size();
      const std::string last = page.back().key;
      std::vector<VaultFile> files;
      files.reserve(shown);
      for (ObjectInfo& o : page) {
        if (!l_.b_.is_state(o.key))
          files.push_back({std::move(o.key), o.size_bytes, o.meta.mtime_ns, std::move(o.etag)});
      }
      MEDIAFS_ASSIGN(const std::size_t added, l_.b_.catalogue->import_listing(files, last));
      found_ += added;
      l_.objects_ += shown;
      tell();
      return {};
    } catch (const std::exception& e) {
      return make_error(ErrorCode::internal, "the vault's listing", e.what());
    }
  }

  void tell() {
    const auto now = std::chrono::steady_clock::now();
    if (now - told_ < kTellEvery) return;
    told_ = now;
    log::info("the vault is listed for the first time", {{"objects", l_.objects_.load()}});
    if (l_.named_) l_.named_();
  }

  FirstListing& l_;
  std::uint64_t found_ = 0;
  SteadyTime told_ = std::chrono::steady_clock::now();
  Mutex mutex_;
  CondVar wake_;
  std::deque<std::vector<ObjectInfo>> pages_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
  Status status_ GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses the others
};

Status FirstListing::run(const std::stop_token& stop) {
  MEDIAFS_ASSIGN(const std::string listed, b_.catalogue->setting(kVaultListed));
  if (!listed.empty()) return {};
  MEDIAFS_ASSIGN(const std::string from, b_.catalogue->setting(kVaultListedTo));
  if (!from.empty()) log::info("the vault's first listing goes on", {{"after", printable(from)}});
  running_ = true;
  objects_ = 0;
  Importing importing(*this);
  Status got = b_.vault->list_after(
      from, [&](std::vector<ObjectInfo>&& page) { return importing.take(std::move(page)); }, stop);
  Status written = importing.finish();
  running_ = false;
  MEDIAFS_TRY(std::move(written));
  MEDIAFS_TRY(std::move(got));
  if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "the vault's first listing");
  MEDIAFS_TRY(b_.catalogue->set_setting(kVaultListed, "yes"));
  if (importing.found() > 0)
    log::info("the vault's listing is in the catalogue", {{"files", importing.found()}});
  return {};
}

}  // namespace mediafs::tier
