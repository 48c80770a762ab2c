// The operations, one family a file (op_*.cpp). Each owns its reply and answers it exactly once, perhaps on another
// thread.
// Threads:    called on FUSE threads; never blocks there on the share or the vault.
#pragma once

#include <fuse_lowlevel.h>

#include <string>

#include "fs/core.h"
#include "fs/reply.h"

namespace mediafs::fs {

// The table of C callbacks; fuse_req_userdata is the Core.
fuse_lowlevel_ops make_operations();
void on_init(Core& core, fuse_conn_info* connection) noexcept;

// op_lookup.cpp
void op_lookup(Core&, EntryReply, NodeId parent, std::string name);
// op_attr.cpp
void op_getattr(Core&, AttrReply, NodeId, const fuse_file_info*);
void op_setattr(Core&, AttrReply, NodeId, const struct stat&, int to_set, const fuse_file_info*);
// op_dir.cpp
void op_opendir(Core&, OpenReply, NodeId, fuse_file_info);
void op_readdir(Core&, DirReply, NodeId, off_t offset, std::uint64_t handle, bool plus);
void op_releasedir(Core&, StatusReply, NodeId, std::uint64_t handle);
void op_fsyncdir(Core&, StatusReply, NodeId);
// op_open.cpp
void op_open(Core&, OpenReply, NodeId, fuse_file_info);
void op_create(Core&, CreateReply, NodeId parent, std::string name, mode_t mode, fuse_file_info);
void op_flush(Core&, StatusReply, std::uint64_t handle);
void op_release(Core&, StatusReply, NodeId, std::uint64_t handle);
// op_read.cpp
void op_read(Core&, DataReply, std::size_t size_bytes, off_t offset, std::uint64_t handle);
void op_lseek(Core&, SeekReply, off_t offset, int whence, std::uint64_t handle);
// op_write.cpp
struct CopyRange {
  std::uint64_t from_handle, to_handle;
  off_t from_offset, to_offset;
  std::size_t size_bytes;
};
struct WriteTo {
  std::uint64_t handle = 0;
  off_t offset = 0;
  bool mapped = false;  // written through a mapping, of this open or of another one
};
void op_write(Core&, WriteReply, std::string_view bytes, const WriteTo& to);
void op_fallocate(Core&, StatusReply, int mode, off_t offset, off_t size_bytes, std::uint64_t handle);
void op_copy_file_range(Core&, WriteReply, const CopyRange&);
void op_fsync(Core&, StatusReply, bool data_only, std::uint64_t handle);
// op_make.cpp
void op_mkdir(Core&, EntryReply, NodeId parent, std::string name, mode_t mode);
void op_mknod(Core&, EntryReply, NodeId parent, std::string name, mode_t mode, dev_t device);
// op_link.cpp
void op_symlink(Core&, EntryReply, std::string target, NodeId parent, std::string name);
void op_readlink(Core&, LinkReply, NodeId);
void op_link(Core&, EntryReply, NodeId, NodeId parent, std::string name);
// op_unlink.cpp
void op_unlink(Core&, StatusReply, NodeId parent, std::string name);
void op_rmdir(Core&, StatusReply, NodeId parent, std::string name);
// op_rename.cpp
struct RenameNames {
  NodeId parent;
  std::string name;
  NodeId new_parent;
  std::string new_name;
};
void op_rename(Core&, StatusReply, RenameNames, unsigned flags);
// op_xattr.cpp
void op_getxattr(Core&, XattrReply, NodeId, std::string name);
void op_listxattr(Core&, XattrReply, NodeId);
void op_setxattr(Core&, StatusReply, NodeId, std::string name, std::string value, int flags);
void op_removexattr(Core&, StatusReply, NodeId, std::string name);
// op_statfs.cpp
void op_statfs(Core&, StatfsReply);

}  // namespace mediafs::fs
