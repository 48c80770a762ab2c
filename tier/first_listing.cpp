#include "tier/first_listing.h"

#include <string>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"

namespace mediafs::tier {

namespace {

constexpr std::chrono::seconds kTellEvery{5};

}  // namespace

Status FirstListing::take(std::vector<ObjectInfo>&& page) {
  if (page.empty()) return {};
  const std::size_t shown = page.size();
  const std::string last = page.back().key;
  std::vector<VaultFile> files;
  files.reserve(shown);
  for (ObjectInfo& o : page) {
    if (!b_.is_state(o.key))
      files.push_back(
          {std::move(o.key), o.size_bytes, o.meta.mtime_ns, std::move(o.etag), o.any_key, o.folder});
  }
  crash_point("first_listing.before_page");
  MEDIAFS_ASSIGN(const std::size_t added, b_.catalogue->import_listing(files, last));
  crash_point("first_listing.after_page");
  found_ += added;
  objects_ += shown;
  const auto now = std::chrono::steady_clock::now();
  if (now - told_ < kTellEvery) return {};
  told_ = now;
  log::info("the vault is listed for the first time", {{"objects", objects_.load()}});
  if (named_) named_();
  return {};
}

Status FirstListing::run(const std::stop_token& stop) {
  MEDIAFS_ASSIGN(const std::string listed, b_.catalogue->setting(kVaultListed));
  if (!listed.empty()) return {};
  MEDIAFS_ASSIGN(const std::string from, b_.catalogue->setting(kVaultListedTo));
  if (!from.empty()) log::info("the vault's first listing goes on", {{"after", printable(from)}});
  found_ = 0;
  objects_ = 0;
  told_ = std::chrono::steady_clock::now();
  running_ = true;
  Status taken;
  Status got = b_.vault->list_after(
      from,
      [&](std::vector<ObjectInfo>&& page) {
        taken = take(std::move(page));
        return taken.has_value();
      },
      stop);
  running_ = false;
  MEDIAFS_TRY(std::move(taken));
  MEDIAFS_TRY(std::move(got));
  if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "the vault's first listing");
  crash_point("first_listing.before_done");
  MEDIAFS_TRY(b_.catalogue->set_setting(kVaultListed, "yes"));
  crash_point("first_listing.after_done");
  if (found_ > 0) log::info("the vault's listing is in the catalogue", {{"files", found_}});
  MEDIAFS_ASSIGN(const Totals totals, b_.catalogue->totals());
  if (totals.escaped.files == 0) return {};
  log::warning(
      "some of the vault's objects have keys that can't be paths: they are shown under other names, with "
      "\xE2\x80\x9B{ "
      "in them (`mediafs doctor` says more)",
      {{"files", totals.escaped.files}});
  return {};
}

}  // namespace mediafs::tier
