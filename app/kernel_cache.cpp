#include "app/kernel_cache.h"

#include "common/path.h"

namespace mediafs::app {

void KernelCache::noticed(const watcher::RawEvent& event) {
  using Kind = watcher::RawEvent::Kind;
  using Noticed = fs::Mount::Noticed;
  fs::Mount* mount = mount_();
  if (mount == nullptr) return;
  switch (event.kind) {
    case Kind::created:
    case Kind::deleted:
      return mount->noticed(Noticed::name, join_path(event.parent, event.name));
    case Kind::moved:
      mount->noticed(Noticed::name, join_path(event.parent, event.name));
      return mount->noticed(Noticed::name, join_path(event.to_parent, event.to_name));
    case Kind::attrib:
      return mount->noticed(Noticed::attributes, join_path(event.parent, event.name));
    case Kind::closed:
      return mount->noticed(Noticed::contents, join_path(event.parent, event.name));
    case Kind::contents:
      return mount->noticed(Noticed::names, event.parent);
    case Kind::overflow: {
      const watcher::Stats stats = stats_();
      scans_wanted_ =
          stats.scans + (stats.scanning ? 2 : 1);  // one that is under way may have passed by already
      return mount->noticed(Noticed::everything, "");
    }
  }
}

void KernelCache::forgotten(const std::string& path) {
  fs::Mount* mount = mount_();
  if (mount == nullptr) return;
  if (path.empty()) return mount->noticed(fs::Mount::Noticed::everything, "");
  mount->noticed(fs::Mount::Noticed::name, path);
}

bool KernelCache::watched() const {
  const watcher::Stats stats = stats_();
  return !ended_ && stats.scans >= scans_wanted_ && stats.unwatched == 0;
}

}  // namespace mediafs::app
