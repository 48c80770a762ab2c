#include "tier/catalogue/ballast.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <chrono>

#include "common/crash.h"
#include "common/fd.h"
#include "common/log.h"

namespace mediafs::tier {

namespace {

constexpr std::chrono::minutes kPause{1};
constexpr std::uint64_t kTimesOver = 4;  // that must be free before it is held

}  // namespace

void Ballast::hold() {
  if (held_ || bytes_ == 0) return;
  if (released_ && std::chrono::steady_clock::now() - *released_ < kPause) return;
  released_ = std::chrono::steady_clock::now();  // the next try, if this one is in vain
  struct stat st {};
  if (::stat(file_.c_str(), &st) == 0 && static_cast<std::uint64_t>(st.st_blocks) * 512 >= bytes_) {
    held_ = true;
    return;
  }
  struct statvfs disk {};
  const std::string folder = file_.substr(0, file_.rfind('/') + 1);
  if (::statvfs(folder.c_str(), &disk) != 0) return;
  if (static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize < kTimesOver * bytes_) return;
  const Fd fd(::open(file_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  crash_point("ballast.before_fill");
  held_ = fd && ::fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes_)) == 0;
  if (!held_) ::unlink(file_.c_str());  // a filesystem that can't promise room has none to hold
}

bool Ballast::release() {
  crash_point("ballast.before_release");
  const bool there = ::unlink(file_.c_str()) == 0;
  crash_point("ballast.after_release");
  held_ = false;
  released_ = std::chrono::steady_clock::now();
  if (there) log::warning("the disk is full: the catalogue goes on with what it had kept", {{"file", file_}});
  return there;
}

}  // namespace mediafs::tier
