#include "app/mount_options.h"

#include <doctest/doctest.h>

using namespace mediafs;
using app::helper_arguments;
using app::parse_mount_options;
using Words = std::vector<std::string>;

TEST_CASE("mount options: what mount(8), systemd and the boot read is left to them") {
  auto options = parse_mount_options(
      "rw,defaults,auto,noauto,user,users,user=me,nofail,_netdev,x-systemd.automount,x-gvfs-hide,relatime,"
      "default_permissions,comment=films,",
      false);
  REQUIRE(options.has_value());
  CHECK(options->kernel.empty());
  CHECK(!options->read_only);
  CHECK(!options->allow_other);
}

TEST_CASE("mount options: ours go over the configuration") {
  auto options = parse_mount_options(
      "ro,noexec,dev,uid=1000,gid=100,umask=022,fsname=nas,subtype=films,allow_other,"
      "vault=\"file:///a,b\",share=/mnt/x\\,y,config=/etc/m.toml",
      false);
  REQUIRE(options.has_value());
  Config::Mount mount;
  mount.options = {"exec"};
  app::apply(*options, mount);
  CHECK(mount.read_only);
  CHECK(mount.options == Words{"exec", "noexec", "dev"});
  CHECK(mount.uid == 1000);
  CHECK(mount.gid == 100);
  CHECK(mount.umask == "022");
  CHECK(mount.fsname == "nas");
  CHECK(mount.subtype == "films");
  CHECK(options->vault == "file:///a,b");
  CHECK(options->share == "/mnt/x,y");
  CHECK(options->config == "/etc/m.toml");
  CHECK(parse_mount_options("uid=root,gid=root", false)->uid == 0);
  CHECK(parse_mount_options("nosubtype", false)->subtype == "");
  CHECK(parse_mount_options("noallow_other", false)->allow_other == false);
  CHECK(parse_mount_options("allow_other=false", false)->allow_other == false);
  CHECK(!parse_mount_options("ro,rw", false)->read_only);
}

TEST_CASE("mount options: what nobody knows is named") {
  for (const auto* text : {"rw,zzz", "zzz=1", "nodev=1,zzz"}) {
    const auto options = parse_mount_options(text, false);
    REQUIRE(!options.has_value());
    CHECK(options.err().code == ErrorCode::config);
  }
  CHECK(parse_mount_options("rw,zzz", false).err().message().find("mount option zzz: unknown") == 0);
  CHECK(parse_mount_options("zzz,ro", true)->read_only == true);
  CHECK(parse_mount_options("remount,ro", false).err().message().find("a new mount") != std::string::npos);
  CHECK(parse_mount_options("uid=", false).err().message().find("mount option uid") == 0);
}

TEST_CASE("mount options: calls of a mount helper are taken for mounts") {
  CHECK(helper_arguments({"mediafs", "mount", "/a", "/b"}).empty());
  CHECK(helper_arguments({"/usr/bin/mediafs"}).empty());
  CHECK(helper_arguments({"mediafs", "organize", "/a", "/b"}).empty());
  const Words mount{"mount", "/c.toml", "/m", "-o", "rw,ro"};
  const auto without_program = [](Words words) {
    REQUIRE(!words.empty());
    words.erase(words.begin());
    return words;
  };
  CHECK(without_program(helper_arguments({"/sbin/mount.fuse.mediafs", "/c.toml", "/m", "-o", "rw,ro"})) ==
        mount);
  CHECK(without_program(helper_arguments({"mount.mediafs", "/c.toml", "/m", "-nv", "-t", "x", "-orw,ro"})) ==
        mount);
  CHECK(without_program(helper_arguments({"mediafs", "/c.toml", "/m", "-o", "rw,ro"})) == mount);
  CHECK(without_program(helper_arguments({"mount.mediafs", "x", "/m", "-sf"})) ==
        Words{"mount", "x", "/m", "--sloppy", "--fake"});
}
