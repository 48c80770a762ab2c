// What a listing does not tell of an object is asked for, many at a time.
#include <algorithm>
#include <atomic>
#include <thread>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "common/sync.h"
#include "tier/rebuild.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kPage = 512;
constexpr std::size_t kAtOnce = 16;

bool to_be_asked(const Node& node) {
  return node.vault && !node.vault->lost && !node.local && !node.vault->checksum;
}

Status ask(Catalogue& catalogue, Vault& vault, const Node& node) {
  const auto head = vault.head(node.vault->key);
  if (!head) {  // deleted since it was listed: whoever opens the file is told
    return head.err().code == ErrorCode::not_found ? Status() : Status(head.err());
  }
  if (!head->meta_known) return {};
  VaultCopy copy = *node.vault;
  copy.size_bytes = head->size_bytes;
  copy.etag = head->etag;
  copy.mtime_ns = head->meta.mtime_ns;
  copy.checksum = head->meta.checksum;
  return catalogue.refine_vault(node.id, copy, head->meta.mode, head->meta.uid, head->meta.gid);
}

Status ask_all(Catalogue& catalogue, Vault& vault, const std::vector<Node>& nodes,
               const std::stop_token& stop) {
  std::atomic<std::size_t> next{0};
  Mutex mutex;
  Status outcome;
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < std::min(kAtOnce, nodes.size()); ++i) {
      threads.emplace_back([&] {
        for (std::size_t mine = next++; mine < nodes.size() && !stop.stop_requested(); mine = next++) {
          Status asked = ask(catalogue, vault, nodes[mine]);
          if (asked) continue;
          const MutexLock lock(mutex);
          outcome = std::move(asked);
          next = nodes.size();
        }
      });
    }
  }
  if (outcome && stop.stop_requested())
    return make_error(ErrorCode::cancelled, "asking for the objects' metadata");
  return outcome;
}

}  // namespace

Result<std::uint64_t> read_metadata(Catalogue& catalogue, Vault& vault,
                                    const std::function<void(const RebuildProgress&)>& on_progress,
                                    const std::stop_token& stop) {
  std::uint64_t asked = 0;
  MEDIAFS_ASSIGN(std::string from, catalogue.setting(kMetadataFrom));
  if (from.empty()) return asked;
  if (from == "/") from.clear();
  for (;;) {
    MEDIAFS_ASSIGN(auto page, catalogue.walk("", from, kPage));
    if (page.empty()) break;
    from = page.back().path;
    std::erase_if(page, [](const Node& node) { return !to_be_asked(node); });
    if (!page.empty()) {
      MEDIAFS_TRY(ask_all(catalogue, vault, page, stop));
      asked += page.size();
      on_progress({"asking for the objects' metadata", asked, 0});
      MEDIAFS_TRY(catalogue.set_setting(kMetadataFrom, from));
      crash_point("rebuild.after_metadata");
    }
  }
  MEDIAFS_TRY(catalogue.set_setting(kMetadataFrom, ""));
  return asked;
}

}  // namespace mediafs::tier
