#include "app/vault_check.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>

#include "app/progress.h"
#include "common/fd.h"
#include "common/path.h"
#include "tier/catalogue/health.h"
#include "tier/mover.h"
#include "tier/vault_identity.h"

namespace mediafs::app {

namespace {

using Grade = VaultStep::Grade;
using Clock = std::chrono::steady_clock;

constexpr int kProbes = 5;
constexpr std::uint64_t kRange = 64U << 10;
// A name as people have them: what a server or a proxy on the way to it spoils shows here.
constexpr const char* kName = "\xC3\x84rger & 100% [4K] +x.bin";
constexpr WallNs kMtime = 1'700'000'000'123'456'789;

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

std::string milliseconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f ms", seconds * 1000);
  return text;
}

std::string speed(std::uint64_t bytes, double seconds) {
  const double rate = static_cast<double>(bytes) / std::max(seconds, 1e-6);
  return human_bytes(bytes) + " in " + milliseconds(seconds) + ", " +
         human_bytes(static_cast<std::uint64_t>(rate)) + "/s";
}

class Trial {
 public:
  Trial(tier::Vault& vault, const VaultCheck& options)
      : vault_(vault),
        options_(options),
        folder_(".mediafs/check-" + tier::temp_token()),
        key_(folder_ + "/" + kName),
        copy_(folder_ + "/copy.bin") {}

  std::vector<VaultStep> run() {
    if (!answers() || !make_bytes() || !upload()) return std::move(steps_);
    // A store may do one of these and not the other.
    metadata();
    if (read()) {
      ranges();
      versions();
    }
    const bool copied = copy();
    list(copied);
    remove();
    return std::move(steps_);
  }

 private:
  bool add(Grade grade, std::string name, std::string detail) {
    steps_.push_back({grade, std::move(name), std::move(detail)});
    if (options_.on_step) options_.on_step(steps_.back());
    return grade != Grade::failed;
  }
  bool failed(std::string name, const Error& error) {
    return add(Grade::failed, std::move(name), error.message());
  }

  bool answers() {
    std::vector<double> took;
    for (int n = 0; n < kProbes; ++n) {
      const auto began = Clock::now();
      if (auto probed = vault_.probe(); !probed) return failed("answers", probed.err());
      took.push_back(seconds_since(began));
    }
    std::sort(took.begin(), took.end());
    return add(Grade::ok, "answers", "lets us in; " + milliseconds(took[kProbes / 2]) + " a request");
  }

  // No two runs send the same: what a cache on the way keeps of the last one would show as speed.
  bool make_bytes() {
    bytes_.resize(options_.size_bytes);
    std::mt19937_64 random{std::random_device{}()};
    for (std::size_t at = 0; at < bytes_.size(); at += sizeof(std::uint64_t)) {
      const std::uint64_t word = random();
      std::memcpy(bytes_.data() + at, &word, std::min(sizeof(word), bytes_.size() - at));
    }
    file_ = Fd(memfd_create("mediafs-vault-check", MFD_CLOEXEC));
    if (!file_) return failed("upload", errno_error(errno, "memory for the object"));
    const Status written = write_all(file_.get(), bytes_, 0);
    return written || failed("upload", written.err());
  }

  bool upload() {
    tier::ObjectMeta meta;
    meta.mtime_ns = kMtime;
    meta.mode = 0640;
    const auto began = Clock::now();
    auto put = vault_.put(key_, {.fd = file_.get(), .size_bytes = bytes_.size()}, meta, options_.stop);
    if (!put) {
      static_cast<void>(vault_.remove(key_));  // of an upload whose answer was lost
      return failed("upload", put.err());
    }
    etag_ = put->info.etag;
    return add(Grade::ok, "upload",
               speed(bytes_.size(), seconds_since(began)) + ", size and checksum confirmed");
  }

  bool metadata() {
    auto there = vault_.head(key_);
    if (!there) return failed("metadata", there.err());
    if (there->size_bytes != bytes_.size()) {
      return add(Grade::failed, "metadata",
                 "the object's size is said to be " + std::to_string(there->size_bytes) + " bytes, not " +
                     std::to_string(bytes_.size()));
    }
    if (there->meta_known && there->meta.mtime_ns == kMtime && there->meta.mode == 0640 &&
        there->meta.checksum)
      return add(Grade::ok, "metadata", "modification time, mode, owner and checksum are kept");
    if (there->meta.mtime_ns / 1'000'000'000 == kMtime / 1'000'000'000)
      return add(Grade::lacking, "metadata", "modification times are kept to the second, not all else is");
    return add(Grade::lacking, "metadata",
               "modification times are not kept: other tools, and mediafs after its catalogue was lost, will "
               "see the "
               "time of the upload");
  }

  bool same(std::uint64_t offset, const std::vector<std::byte>& got) const {
    return std::memcmp(bytes_.data() + offset, got.data(), got.size()) == 0;
  }

  bool fetch(std::string name, std::uint64_t offset, std::uint64_t size, bool tell_speed) {
    std::vector<std::byte> got(size);
    const auto began = Clock::now();
    auto read = vault_.read({.key = key_, .offset = offset, .size_bytes = size, .if_match = etag_}, got);
    const double took = seconds_since(began);
    if (!read) return failed(std::move(name), read.err());
    if (*read != size || !same(offset, got))
      return add(Grade::failed, std::move(name), "other bytes came back than were sent");
    return add(
        Grade::ok, std::move(name),
        tell_speed ? speed(size, took) : human_bytes(size) + " from the middle in " + milliseconds(took));
  }

  bool read() { return fetch("read", 0, bytes_.size(), true); }
  bool ranges() {
    const std::uint64_t size = std::min<std::uint64_t>(kRange, bytes_.size());
    return fetch("ranges", (bytes_.size() - size) / 2, size, false);
  }

  bool versions() {
    if (etag_.empty()) {
      return add(Grade::lacking, "versions",
                 "objects have no ETag: what is read is not kept in the block cache");
    }
    std::vector<std::byte> got(1);
    auto read = vault_.read({.key = key_, .offset = 0, .size_bytes = 1, .if_match = "\"another\""}, got);
    if (!read && read.error().code == ErrorCode::changed)
      return add(Grade::ok, "versions", "a read of a replaced object is refused");
    if (!read) return failed("versions", read.error());
    return add(Grade::failed, "versions", "a read that names another version's ETag is answered");
  }

  bool copy() {
    tier::ObjectMeta meta;
    meta.mtime_ns = kMtime;
    const auto began = Clock::now();
    auto copied = vault_.copy(key_, copy_, meta, options_.stop);
    if (!copied) return failed("copy", copied.err());
    if (copied->size_bytes != bytes_.size()) return add(Grade::failed, "copy", "the copy has another size");
    return add(Grade::ok, "copy",
               "within the vault, as renames need it, in " + milliseconds(seconds_since(began)));
  }

  bool list(bool copied) {
    std::size_t found = 0;
    const Status listed = vault_.list(
        folder_,
        [&](std::vector<tier::ObjectInfo>&& page) {
          for (const tier::ObjectInfo& object : page)
            found += object.key == key_ || object.key == copy_ ? 1 : 0;
          return true;
        },
        options_.stop);
    if (!listed) return failed("list", listed.err());
    const std::size_t wanted = copied ? 2 : 1;
    if (found == wanted) return add(Grade::ok, "list", "shows what was uploaded, under its name");
    return add(Grade::failed, "list",
               "shows " + std::to_string(found) + " of " + std::to_string(wanted) +
                   " objects under their names: " + printable(key_));
  }

  bool remove() {
    for (const std::string& key : {key_, copy_}) {
      if (auto removed = vault_.remove(key); !removed) return failed("delete", removed.err());
    }
    auto there = vault_.head(key_);
    if (there) return add(Grade::failed, "delete", "the object is still there: " + printable(key_));
    if (there.err().code != ErrorCode::not_found) return failed("delete", there.err());
    return add(Grade::ok, "delete", "what was uploaded is gone");
  }

  tier::Vault& vault_;
  const VaultCheck& options_;
  const std::string folder_, key_, copy_;
  std::string etag_;
  Fd file_;
  std::vector<std::byte> bytes_;
  std::vector<VaultStep> steps_;
};

}  // namespace

Status probe_own_vault(const Config& config, tier::Vault& vault) {
  const std::string file = config.local.state + "/catalogue.db";
  std::string id;
  bool incomplete = access((config.local.state + "/" + tier::kKnownVaultFile).c_str(), R_OK) == 0;
  if (access(file.c_str(), R_OK) == 0) {
    auto catalogue = tier::Catalogue::open({.path = file, .read_only = true});
    if (catalogue) {
      id = (*catalogue)->setting(tier::kVaultId).value_or("");
      incomplete = !(*catalogue)->setting(tier::kIncomplete).value_or("").empty();
    }
  }
  if (id.empty() && incomplete) return tier::not_our_vault(vault, tier::VaultState::incomplete);
  if (id.empty()) return vault.probe();
  // The marker first: a probe may make a directory that is missing.
  MEDIAFS_ASSIGN(const auto state, tier::look_at_vault(vault, id));
  MEDIAFS_TRY(vault.probe());
  return state == tier::VaultState::ours ? Status() : Status(tier::not_our_vault(vault, state));
}

std::vector<VaultStep> check_vault(tier::Vault& vault, const VaultCheck& options) {
  return Trial(vault, options).run();
}

}  // namespace mediafs::app
