#include "tier/catalogue/catalogue.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "common/fd.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/catalogue/health.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace {

Result<std::unique_ptr<sql::Connection>> open_database(const Catalogue::Options& options) {
  MEDIAFS_ASSIGN(auto db, sql::Connection::open(options.path, sql::Connection::Mode::read_write_create));
  MEDIAFS_TRY(rows::check_schema(*db, false));
  MEDIAFS_TRY(
      db->execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA journal_size_limit=67108864"));
  MEDIAFS_TRY(rows::migrate(*db));
  MEDIAFS_TRY(rows::requeue_running(*db, options.clock->wall_ns()));
  return db;
}

}  // namespace

Status Catalogue::Impl::write(const Writer::Work& work, bool durable) {
  if (!writer)
    return make_error(ErrorCode::read_only, "catalogue " + printable(options.path),
                      "opened for reading only");
  return writer->run(work, durable);
}

Catalogue::Impl::~Impl() {
  jobs.reset();
  if (noted_open) note_closing(options.path);
  readers.close();
  writer.reset();
  if (noted_open) note_closed(options.path);
}

void Catalogue::Impl::met_damage() noexcept {
  if (damaged.exchange(true) || options.read_only) return;
  note_damage(options.path);
  log::error(
      "the catalogue is damaged: nothing in the vault is changed from now on (stop mediafs and start it "
      "again, which "
      "sets the damaged one aside; then mediafs rebuild)",
      {{"file", options.path}});
}

// A fresh one that takes a lost one's place says so in the same transaction in which the data version is lifted.
Status Catalogue::Impl::mark_incomplete() {
  if (!options.lost.empty()) {
    const Writer::Work mark = [this](rows::Tx& tx) -> Status {
      MEDIAFS_TRY(rows::set_setting(tx, kIncomplete, options.lost));
      return rows::lift_version(tx, options.version_floor);
    };
    MEDIAFS_TRY(writer->run(mark, true));
    MEDIAFS_TRY(note_version(options.path, options.version_floor));
    MEDIAFS_TRY(made_incomplete(options.path));
  }
  MEDIAFS_ASSIGN(auto lease, readers.now());
  MEDIAFS_ASSIGN(std::string why, rows::setting(lease.db(), kIncomplete));
  MutexLock lock(incomplete_mutex);
  incomplete = std::move(why);
  return {};
}

Status Catalogue::Impl::open_writer() {
  auto opened = open_database(options);
  if (!opened && opened.error().code == ErrorCode::no_space &&
      Ballast(options.path + "-ballast", options.ballast_bytes).release()) {
    opened = open_database(options);
  }
  MEDIAFS_ASSIGN(auto db, std::move(opened));
  db->on_corrupt([this] { met_damage(); });
  note_open(options.path);
  noted_open = true;
  MEDIAFS_TRY(names.read(*db));
  MEDIAFS_ASSIGN(writer,
                 Writer::open(std::move(db), {options, promised, names, [this] { readers.committing(); },
                                              [this] { readers.committed(); }}));
  readers.follow(writer.get());
  return mark_incomplete();
}

Later::Touch Catalogue::Impl::pending(std::string_view path) const {
  return writer ? writer->pending().look(path) : Later::Touch::none;
}

Result<Node> Catalogue::Impl::file(rows::Tx& tx, std::int64_t id) {
  MEDIAFS_ASSIGN(auto node, rows::load(tx.db, id));
  if (!node || node->kind != NodeKind::file) return rows::gone(id);
  return std::move(*node);
}

Catalogue::Catalogue(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Catalogue::~Catalogue() = default;

Result<std::unique_ptr<Catalogue>> Catalogue::open(Options options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  const Options& o = impl->options;
  if (!o.read_only) {
    if (const Status opened = impl->open_writer(); !opened) return rows::explain_open(opened.err(), o.path);
  }
  auto reader = impl->readers.connect();
  if (!reader) return rows::explain_open(reader.err(), o.path);
  if (const Status known = rows::check_schema(**reader, true); !known)
    return rows::explain_open(known.err(), o.path);
  impl->jobs = make_jobs(impl->readers, impl->writer.get(), o);
  return std::unique_ptr<Catalogue>(new Catalogue(std::move(impl)));  // NOLINT: private constructor
}

Jobs& Catalogue::jobs() {
  return *impl_->jobs;
}

Status Catalogue::set_setting(std::string_view name, std::string_view value) {
  return impl_->write([&](rows::Tx& tx) { return rows::set_setting(tx, name, value); });
}

Status Catalogue::check(const std::stop_token& stop) {
  constexpr std::chrono::hours kNoLimit{24};
  MEDIAFS_ASSIGN(auto db, impl_->readers.connect());
  Status sound = check_database(*db, false, kNoLimit, stop);
  if (!sound && sound.err().code == ErrorCode::corrupt) impl_->met_damage();
  return sound ? std::move(sound) : Status(rows::explain_open(sound.err(), impl_->options.path));
}

std::string Catalogue::incomplete() const {
  MutexLock lock(impl_->incomplete_mutex);
  return impl_->incomplete;
}

bool Catalogue::damaged() const noexcept {
  return impl_->damaged;
}

Status Catalogue::completed() {
  MEDIAFS_TRY(impl_->write([](rows::Tx& tx) { return rows::set_setting(tx, kIncomplete, ""); }, true));
  MutexLock lock(impl_->incomplete_mutex);
  impl_->incomplete.clear();
  return {};
}

Result<std::uint64_t> Catalogue::new_inode(std::uint64_t device, std::uint64_t inode) {
  // Without what is pending: a row that is about to go keeps its number from others for a moment longer.
  MEDIAFS_ASSIGN(auto lease, impl_->readers.now());
  Fingerprint print;
  print.device = device;
  print.inode = inode;
  MEDIAFS_ASSIGN(const std::uint64_t shown, rows::choose_inode(lease.db(), print, 0, &impl_->promised));
  if (shown == 0) return inode;
  if (shown != inode) impl_->promised.add(device, inode, shown);
  return shown;
}

}  // namespace mediafs::tier
