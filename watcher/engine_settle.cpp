#include <algorithm>
#include <chrono>

#include "common/log.h"
#include "common/path.h"
#include "watcher/engine.h"
#include "watcher/probe.h"

namespace mediafs::watcher {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSettleBudget{20};  // then notices get their turn
constexpr milliseconds kWriterWait{50};
constexpr milliseconds kWriterWaitMost{10'000};
constexpr int kStaleAsk = 12;

milliseconds age(const Fingerprint& print) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<milliseconds>(now - std::chrono::nanoseconds(print.ctime_ns));
}

}  // namespace

// Its notice is in the kernel's queue already, as a rule: so soon at first, then ever later.
milliseconds Engine::stale_wait(int looks) {
  return milliseconds(std::min(1000, 5 << std::min(looks, 10)));
}

void Engine::settle_due() {
  const SteadyTime begin = std::chrono::steady_clock::now();
  SteadyTime now = begin;
  while (now - begin < kSettleBudget) {
    PendingTable::Entry* entry = pending_.first_due(now);
    if (entry == nullptr) return;
    check(*entry, now);
    now = std::chrono::steady_clock::now();
  }
}

void Engine::check(PendingTable::Entry& entry, SteadyTime now) {
  const DirId id = entry.key->first;
  const std::string name = entry.key->second;
  const int dir = open_dir(id);
  if (dir < 0) {
    if (++entry.stale_looks == kStaleAsk) ask_scan_all();
    return pending_.reschedule(entry, now + stale_wait(entry.stale_looks));
  }
  entry.stale_looks = 0;
  const auto info = stat_at(dir, name);
  const std::string path = join_path(table_->path(id), name);
  // That it is gone is, or will be, told by a notice.
  if (!info || !(S_ISREG(info->st_mode) || S_ISLNK(info->st_mode)) || !audible(*table_->find(id), path)) {
    return pending_.erase(id, name);
  }
  const Fingerprint print = fingerprint(*info);
  if (!entry.seen || !(*entry.seen == print)) {
    entry.seen = print;
    entry.writer_looks = 0;
    return pending_.reschedule(entry, now + options_.settle);
  }
  if (S_ISREG(info->st_mode)) {
    struct stat probed = *info;
    const Writer writer = probe_writer(dir, name, probed);
    if (writer == Writer::open) {
      const milliseconds first = std::max(options_.settle, kWriterWait);
      const int doublings = std::min(entry.writer_looks++, 10);
      return pending_.reschedule(entry,
                                 now + std::min(first * (1 << doublings), std::max(first, kWriterWaitMost)));
    }
    if (writer == Writer::cut_off) {
      const milliseconds left = options_.cut_off - age(print);
      if (left > milliseconds(0)) {
        log::info(
            "a file was half written when its writer was cut off: it waits to be written again, or an hour",
            {{"path", printable(path)}});
        return pending_.reschedule(entry, now + std::min(left, options_.cut_off));
      }
      log::warning("a file's writer was cut off, and nobody has written it again: it is taken as it is",
                   {{"path", printable(path)}});
      forget_cut_off(dir, name);
      entry.seen.reset();
      return pending_.reschedule(entry, now);
    }
    if (writer == Writer::changed || !(fingerprint(probed) == print)) {
      entry.seen.reset();
      return pending_.reschedule(entry, now);
    }
  }
  Event event{.kind = entry.attrib_only ? Event::Kind::attrib : Event::Kind::settled,
              .path = path,
              .symlink = S_ISLNK(info->st_mode),
              .from = std::move(entry.from),
              .info = *info};
  pending_.erase(id, name);
  emit(event);
}

}  // namespace mediafs::watcher
