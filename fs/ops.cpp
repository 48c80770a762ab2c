// The C callbacks: each makes its typed reply and lets no exception out.
#include "fs/ops.h"

#include <fcntl.h>

#include <exception>

#include "common/log.h"
#include "fs/negotiate.h"

namespace mediafs::fs {
namespace {

Core& core_of(fuse_req_t request) {
  return *static_cast<Core*>(fuse_req_userdata(request));
}

// `call` takes the reply over. Whatever it throws: a reply that was not answered answers EIO when it goes.
template <class R, class Call>
void guarded(R reply, Call call) noexcept {
  try {
    call(std::move(reply));
  } catch (const std::exception& e) {
    log::error("request failed", {{"error", e.what()}});
  }
}

void on_forget(fuse_req_t request, fuse_ino_t node, std::uint64_t lookups) noexcept {
  core_of(request).nodes.forget(node, lookups);
  fuse_reply_none(request);
}

void on_forget_multi(fuse_req_t request, std::size_t count, fuse_forget_data* forgets) noexcept {
  for (std::size_t i = 0; i < count; ++i) core_of(request).nodes.forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(request);
}

void set_name_operations(fuse_lowlevel_ops& ops) {
  ops.lookup = [](fuse_req_t req, fuse_ino_t parent, const char* name) noexcept {
    guarded(EntryReply(req), [&](EntryReply r) { op_lookup(core_of(req), std::move(r), parent, name); });
  };
  ops.forget = on_forget;
  ops.forget_multi = on_forget_multi;
  ops.mknod = [](fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) noexcept {
    guarded(EntryReply(req),
            [&](EntryReply r) { op_mknod(core_of(req), std::move(r), parent, name, mode, device); });
  };
  ops.mkdir = [](fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) noexcept {
    guarded(EntryReply(req), [&](EntryReply r) { op_mkdir(core_of(req), std::move(r), parent, name, mode); });
  };
  ops.unlink = [](fuse_req_t req, fuse_ino_t parent, const char* name) noexcept {
    guarded(StatusReply(req), [&](StatusReply r) { op_unlink(core_of(req), std::move(r), parent, name); });
  };
  ops.rmdir = [](fuse_req_t req, fuse_ino_t parent, const char* name) noexcept {
    guarded(StatusReply(req), [&](StatusReply r) { op_rmdir(core_of(req), std::move(r), parent, name); });
  };
  ops.symlink = [](fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) noexcept {
    guarded(EntryReply(req),
            [&](EntryReply r) { op_symlink(core_of(req), std::move(r), target, parent, name); });
  };
  ops.readlink = [](fuse_req_t req, fuse_ino_t node) noexcept {
    guarded(LinkReply(req), [&](LinkReply r) { op_readlink(core_of(req), std::move(r), node); });
  };
  ops.rename = [](fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                  const char* new_name, unsigned flags) noexcept {
    guarded(StatusReply(req), [&](StatusReply r) {
      op_rename(core_of(req), std::move(r), RenameNames{parent, name, new_parent, new_name}, flags);
    });
  };
  ops.link = [](fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char* name) noexcept {
    guarded(EntryReply(req), [&](EntryReply r) { op_link(core_of(req), std::move(r), node, parent, name); });
  };
}

void set_attribute_operations(fuse_lowlevel_ops& ops) {
  ops.getattr = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* info) noexcept {
    guarded(AttrReply(req, takes_statx()),
            [&](AttrReply r) { op_getattr(core_of(req), std::move(r), node, info); });
  };
  ops.setattr = [](fuse_req_t req, fuse_ino_t node, struct stat* st, int to_set,
                   fuse_file_info* info) noexcept {
    guarded(AttrReply(req),
            [&](AttrReply r) { op_setattr(core_of(req), std::move(r), node, *st, to_set, info); });
  };
  ops.statfs = [](fuse_req_t req, fuse_ino_t) noexcept {
    guarded(StatfsReply(req), [&](StatfsReply r) { op_statfs(core_of(req), std::move(r)); });
  };
  ops.setxattr = [](fuse_req_t req, fuse_ino_t node, const char* name, const char* value, std::size_t size,
                    int flags) noexcept {
    guarded(StatusReply(req), [&](StatusReply r) {
      op_setxattr(core_of(req), std::move(r), node, name, std::string(value, size), flags);
    });
  };
  ops.getxattr = [](fuse_req_t req, fuse_ino_t node, const char* name, std::size_t size) noexcept {
    guarded(XattrReply(req, size),
            [&](XattrReply r) { op_getxattr(core_of(req), std::move(r), node, name); });
  };
  ops.listxattr = [](fuse_req_t req, fuse_ino_t node, std::size_t size) noexcept {
    guarded(XattrReply(req, size), [&](XattrReply r) { op_listxattr(core_of(req), std::move(r), node); });
  };
  ops.removexattr = [](fuse_req_t req, fuse_ino_t node, const char* name) noexcept {
    guarded(StatusReply(req), [&](StatusReply r) { op_removexattr(core_of(req), std::move(r), node, name); });
  };
}

void set_directory_operations(fuse_lowlevel_ops& ops) {
  ops.opendir = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* info) noexcept {
    guarded(OpenReply(req), [&](OpenReply r) { op_opendir(core_of(req), std::move(r), node, *info); });
  };
  ops.readdir = [](fuse_req_t req, fuse_ino_t node, std::size_t size, off_t offset,
                   fuse_file_info* info) noexcept {
    guarded(DirReply(req, size),
            [&](DirReply r) { op_readdir(core_of(req), std::move(r), node, offset, info->fh, false); });
  };
  ops.readdirplus = [](fuse_req_t req, fuse_ino_t node, std::size_t size, off_t offset,
                       fuse_file_info* info) noexcept {
    guarded(DirReply(req, size),
            [&](DirReply r) { op_readdir(core_of(req), std::move(r), node, offset, info->fh, true); });
  };
  ops.releasedir = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* info) noexcept {
    guarded(StatusReply(req),
            [&](StatusReply r) { op_releasedir(core_of(req), std::move(r), node, info->fh); });
  };
  ops.fsyncdir = [](fuse_req_t req, fuse_ino_t node, int, fuse_file_info*) noexcept {
    guarded(StatusReply(req), [&](StatusReply r) { op_fsyncdir(core_of(req), std::move(r), node); });
  };
}

// Older libfuses' lacks it: see negotiate.h.
template <class Operations>
void set_tmpfile(Operations& ops) {
  if constexpr (requires { ops.tmpfile; }) {
    ops.tmpfile = [](fuse_req_t req, fuse_ino_t parent, mode_t mode, fuse_file_info* info) noexcept {
      guarded(CreateReply(req), [&](CreateReply r) {
        fuse_file_info nameless = *info;
        nameless.flags |= O_TMPFILE;
        op_create(core_of(req), std::move(r), parent, std::string(), mode, nameless);
      });
    };
  }
}

void set_file_operations(fuse_lowlevel_ops& ops) {
  ops.open = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* info) noexcept {
    guarded(OpenReply(req), [&](OpenReply r) { op_open(core_of(req), std::move(r), node, *info); });
  };
  ops.create = [](fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
                  fuse_file_info* info) noexcept {
    guarded(CreateReply(req),
            [&](CreateReply r) { op_create(core_of(req), std::move(r), parent, name, mode, *info); });
  };
  ops.read = [](fuse_req_t req, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info* info) noexcept {
    guarded(DataReply(req),
            [&](DataReply r) { op_read(core_of(req), std::move(r), size, offset, info->fh); });
  };
  ops.write = [](fuse_req_t req, fuse_ino_t, const char* bytes, std::size_t size, off_t offset,
                 fuse_file_info* info) noexcept {
    guarded(WriteReply(req), [&](WriteReply r) {
      op_write(core_of(req), std::move(r), {bytes, size}, WriteTo{info->fh, offset, info->writepage != 0});
    });
  };
  ops.release = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* info) noexcept {
    guarded(StatusReply(req), [&](StatusReply r) { op_release(core_of(req), std::move(r), node, info->fh); });
  };
  ops.fsync = [](fuse_req_t req, fuse_ino_t, int data_only, fuse_file_info* info) noexcept {
    guarded(StatusReply(req),
            [&](StatusReply r) { op_fsync(core_of(req), std::move(r), data_only != 0, info->fh); });
  };
  set_tmpfile(ops);
  ops.fallocate = [](fuse_req_t req, fuse_ino_t, int mode, off_t offset, off_t size,
                     fuse_file_info* info) noexcept {
    guarded(StatusReply(req),
            [&](StatusReply r) { op_fallocate(core_of(req), std::move(r), mode, offset, size, info->fh); });
  };
  ops.copy_file_range = [](fuse_req_t req, fuse_ino_t, off_t from, fuse_file_info* from_info, fuse_ino_t,
                           off_t to, fuse_file_info* to_info, std::size_t size, int) noexcept {
    guarded(WriteReply(req), [&](WriteReply r) {
      op_copy_file_range(core_of(req), std::move(r), CopyRange{from_info->fh, to_info->fh, from, to, size});
    });
  };
  ops.lseek = [](fuse_req_t req, fuse_ino_t, off_t offset, int whence, fuse_file_info* info) noexcept {
    guarded(SeekReply(req),
            [&](SeekReply r) { op_lseek(core_of(req), std::move(r), offset, whence, info->fh); });
  };
}

}  // namespace

fuse_lowlevel_ops make_operations() {
  fuse_lowlevel_ops ops{};
  ops.init = [](void* core, fuse_conn_info* connection) noexcept {
    on_init(*static_cast<Core*>(core), connection);
  };
  set_name_operations(ops);
  set_attribute_operations(ops);
  set_directory_operations(ops);
  set_file_operations(ops);
  // Asked for only where the open said so. Locks are left to the kernel altogether.
  ops.flush = [](fuse_req_t req, fuse_ino_t, fuse_file_info* info) noexcept {
    guarded(StatusReply(req), [&](StatusReply r) { op_flush(core_of(req), std::move(r), info->fh); });
  };
  return ops;
}

void on_init(Core& core, fuse_conn_info* connection) noexcept {
#ifdef MEDIAFS_FUSE_NATIVE_PASSTHROUGH
  auto set = [connection](std::uint64_t flag, bool on) {
    if (on) fuse_set_feature_flag(connection, flag);
    if (!on) fuse_unset_feature_flag(connection, flag);
  };
#else
  auto set = [connection](unsigned flag, bool on) {
    if (on && (connection->capable & flag) != 0) connection->want |= flag;
    if (!on) connection->want &= ~flag;
  };
#endif
  set(FUSE_CAP_DONT_MASK, true);  // the umask counts only where no default ACL does
  // The kernel asks for each file's, once, and goes by them.
  set(FUSE_CAP_POSIX_ACL, tree::has_acls(core.local_root.get()));
  set(FUSE_CAP_PARALLEL_DIROPS, true);
  set(FUSE_CAP_ATOMIC_O_TRUNC, true);
  set(FUSE_CAP_READDIRPLUS, true);
  set(FUSE_CAP_READDIRPLUS_AUTO, false);
  // Nobody tells of a write underneath before the file is closed. The kernel would keep the page that the file ended in,
  // with zeros where it has grown.
  set(FUSE_CAP_AUTO_INVAL_DATA, true);
  set(FUSE_CAP_EXPLICIT_INVAL_DATA, false);
  core.stateless_directories =
      core.share == nullptr && (connection->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) != 0;
  set(FUSE_CAP_HANDLE_KILLPRIV, false);  // its second version is ours: see tree::drop_set_id
  set(FUSE_CAP_WRITEBACK_CACHE, false);
  set(FUSE_CAP_SPLICE_READ, false);  // plain copies are faster than pipes here
  set(FUSE_CAP_SPLICE_WRITE, false);
  set(FUSE_CAP_SPLICE_MOVE, false);
  connection->max_background = 64;
  want_passthrough(connection, core.passthrough, fuse_session_fd(core.session));
}

}  // namespace mediafs::fs
