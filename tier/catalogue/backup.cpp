// A copy of the catalogue while it is in use.
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "common/fd.h"
#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace {

constexpr int kPagesAtOnce = 512;

// From one snapshot: writers go on, and what they write does not make it begin anew.
Status copy_pages(sql::Connection& from, sql::Connection& to, const std::stop_token& stop) {
  const std::unique_ptr<sqlite3_backup, int (*)(sqlite3_backup*)> backup(
      sqlite3_backup_init(to.raw(), "main", from.raw(), "main"), &sqlite3_backup_finish);
  if (!backup)
    return make_error(ErrorCode::io, "copy of " + printable(from.path()), sqlite3_errmsg(to.raw()));
  for (;;) {
    if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "copy of " + printable(from.path()));
    const int rc = sqlite3_backup_step(backup.get(), kPagesAtOnce);
    if (rc == SQLITE_DONE) return {};
    if (rc == SQLITE_OK) continue;
    const ErrorCode code = (rc & 0xFF) == SQLITE_FULL      ? ErrorCode::no_space
                           : (rc & 0xFF) == SQLITE_CORRUPT ? ErrorCode::corrupt
                                                           : ErrorCode::io;
    return make_error(code, "copy of " + printable(from.path()), sqlite3_errstr(rc));
  }
}

}  // namespace

// Published whole: a crash leaves the last backup as it was.
Status Catalogue::backup_to(const std::string& file, std::stop_token stop) {
  const std::string temp = file + ".part";
  if (::unlink(temp.c_str()) != 0 && errno != ENOENT) return errno_error(errno, "unlink " + printable(temp));
  if (impl_->writer) MEDIAFS_TRY(impl_->writer->flush_pending(Writer::Haste::at_once));
  {
    MEDIAFS_ASSIGN(auto from, impl_->readers.connect());
    MEDIAFS_TRY(from->execute("BEGIN; SELECT count(*) FROM setting"));
    MEDIAFS_ASSIGN(auto to, sql::Connection::open(temp, sql::Connection::Mode::read_write_create));
    MEDIAFS_TRY(to->execute("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF"));
    const Status copied = copy_pages(*from, *to, stop);
    // Read back without a log beside it.
    Status plain = copied ? to->execute("PRAGMA journal_mode=DELETE") : copied;
    if (!plain) {
      to.reset();
      ::unlink(temp.c_str());
      return plain;
    }
  }
  MEDIAFS_ASSIGN(const Fd written, open_at(AT_FDCWD, temp, O_RDONLY | O_CLOEXEC));
  MEDIAFS_TRY(sync_fd(written.get()));
  if (::rename(temp.c_str(), file.c_str()) != 0) return errno_error(errno, "rename " + printable(temp));
  return sync_parent(AT_FDCWD, file);
}

}  // namespace mediafs::tier
