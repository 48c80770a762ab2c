#include "tier/catalogue/catalogue.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "common/fd.h"
#include "common/path.h"
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

Status Catalogue::Impl::open_writer() {
  auto opened = open_database(options);
  if (!opened && opened.error().code == ErrorCode::no_space &&
      Ballast(options.path + "-ballast", options.ballast_bytes).release()) {
    opened = open_database(options);
  }
  MEDIAFS_ASSIGN(auto db, std::move(opened));
  MEDIAFS_TRY(names.read(*db));
  MEDIAFS_ASSIGN(writer,
                 Writer::open(std::move(db), {options, promised, names, [this] { readers.committing(); },
                                              [this] { readers.committed(); }}));
  readers.follow(writer.get());
  return {};
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

Status Catalogue::check() {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  MEDIAFS_ASSIGN(auto query, lease.db().prepare("PRAGMA quick_check(10)"));
  std::string trouble;
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) break;
    if (query.view(0) != "ok") trouble += (trouble.empty() ? "" : "; ") + query.text(0);
  }
  if (trouble.empty()) return {};
  return rows::explain_open(
      make_error(ErrorCode::corrupt, "catalogue " + printable(impl_->options.path), trouble),
      impl_->options.path);
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

// A copy without free pages, published whole: a crash leaves the last backup as it was.
Status Catalogue::backup_to(const std::string& file) {
  const std::string temp = file + ".part";
  if (::unlink(temp.c_str()) != 0 && errno != ENOENT) return errno_error(errno, "unlink " + printable(temp));
  if (impl_->writer) MEDIAFS_TRY(impl_->writer->flush_pending(Writer::Haste::at_once));
  MEDIAFS_ASSIGN(auto db, impl_->readers.connect());
  {
    MEDIAFS_TRY(db->execute("PRAGMA query_only=0"));
    MEDIAFS_ASSIGN(auto copy, db->prepare("VACUUM INTO ?"));
    MEDIAFS_TRY(copy.bind_text(1, temp).run());
  }
  MEDIAFS_ASSIGN(const Fd written, open_at(AT_FDCWD, temp, O_RDONLY | O_CLOEXEC));
  MEDIAFS_TRY(sync_fd(written.get()));
  if (::rename(temp.c_str(), file.c_str()) != 0) return errno_error(errno, "rename " + printable(temp));
  return sync_parent(AT_FDCWD, file);
}

}  // namespace mediafs::tier
