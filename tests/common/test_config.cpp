#include <doctest/doctest.h>
#include <sys/stat.h>

#include <map>
#include <string>

#include "common/config.h"
#include "temp_dir.h"

using namespace mediafs;
using namespace std::chrono_literals;

namespace {

const std::string kPaths =
    "[mount]\npath = \"/data/Media\"\n[local]\npath = \"/data/.Local\"\n";  // four lines

std::string message(const std::string& toml, const Environment& env = {}) {
  const auto config = parse_config(toml, "m.toml", env);
  if (config) return "";
  CHECK(config.err().code == ErrorCode::config);
  return config.err().message();
}

Config parsed(const std::string& toml, const Environment& env = {}) {
  auto config = parse_config(toml, "m.toml", env);
  if (!config) FAIL(config.err().message());
  return *config;
}

}  // namespace

TEST_CASE("config: the documented example, every key") {
  const Config c = parsed(R"(
[mount]
path = "/data/Media"
allow_other = false
[local]
path = "/data//.Local/"
state = ""
reserve = "8G"
evict_below_free = "40%"
evict_until_free = "55.5%"
[share]
path = "/mnt/nas/Media"
marker = ".mediafs-share"
timeout = "1500ms"
passthrough = true
[vault]
url = "s3://bucket/prefix"
endpoint = "http://127.0.0.1:9000/"
region = "eu-1"
credentials = "/etc/mediafs/vault.credentials"
upload_limit = "10M"
cache_size = "20G"
trash = "7d"
[incoming]
path = "Incoming"
settle = "2s"
ignore = ["*.part", "*.!qB", ".*"]
[organize]
movies = "Movies/{title} ({year})/{title} ({year}){edition}{part}.{ext}"
shows  = "Shows/{show}/Season {season:02}/{show} - S{season:02}E{episode:02}{-E{last:02}}{ - episode_title}.{ext}"
unsorted = "Unsorted"
on_conflict = "keep_both"
[jobs]
organize = 5
upload = 21
checksum = 3
[checksum]
sidecar = "sha256"
[log]
level = "debug"
[[hook]]
on = "filed"
run = ["/usr/local/bin/notify", "{}"]
[[hook]]
on = "dead"
run = ["mail"]
)");
  CHECK(c.file == "m.toml");
  CHECK(!c.mount.allow_other);
  CHECK(c.local.path == "/data/.Local");
  CHECK(c.local.state == "/data/.Local/.mediafs");
  CHECK(c.local.reserve_bytes == 8ULL << 30);
  CHECK(c.local.evict_below_free.of(1000) == 400);
  CHECK(c.local.evict_until_free.of(1000) == 555);
  CHECK(c.share.timeout == 1500ms);
  CHECK(c.share.passthrough);
  CHECK(c.vault.endpoint == "http://127.0.0.1:9000");
  CHECK(c.vault.path_style);
  CHECK(c.vault.upload_limit == 10ULL << 20);
  CHECK(c.vault.trash == std::chrono::hours(7 * 24));
  CHECK(c.incoming.ignore.size() == 3);
  CHECK(c.organize.on_conflict == "keep_both");
  CHECK(c.jobs.upload == 21);
  CHECK(c.checksum.sidecar == "sha256");
  REQUIRE(c.hooks.size() == 2);
  CHECK(c.hooks[0].run[1] == "{}");
  CHECK(c.hooks[1].on == "dead");
}

TEST_CASE("config: defaults need no more than two paths") {
  const Config c = parsed(kPaths);
  CHECK(c.vault.url.empty());
  CHECK(c.local.evict_below_free.percent == 50);
  CHECK(!parsed(kPaths + "[vault]\nurl = \"s3://b\"").vault.path_style);
  CHECK(parsed(kPaths + "[vault]\nurl = \"s3://b\"\npath_style = true").vault.path_style);
}

TEST_CASE("config: an unknown key is named with file, line and the nearest key") {
  CHECK(message("[local]\nreserv = \"8G\"\n") ==
        "m.toml:2: local.reserv: unknown key (did you mean \"reserve\"?)");
  CHECK(message("[local]\n\nevict_bellow_free = \"1%\"") ==
        "m.toml:3: local.evict_bellow_free: unknown key (did you mean \"evict_below_free\"?)");
  CHECK(message("[mount]\nreserve = \"8G\"") ==
        "m.toml:2: mount.reserve: unknown key (did you mean \"local.reserve\"?)");
  CHECK(message("[mount]\nzzzzzzzz = 1") == "m.toml:2: mount.zzzzzzzz: unknown key");
  CHECK(message("\n[locale]\npath = \"/x\"") ==
        "m.toml:2: locale: unknown section (did you mean \"local\"?)");
  CHECK(message("pathh = 1") == "m.toml:1: pathh: unknown key");
  CHECK(message("[[hook]]\nonn = \"filed\"") == "m.toml:2: hook[0].onn: unknown key (did you mean \"on\"?)");
  CHECK(message("[vault]\nsecret_key = \"x\"").find("file of their own") != std::string::npos);
}

TEST_CASE("config: of several mistakes the first line's is told") {
  CHECK(message("[vault]\nzone = 1\n[local]\nabc = 1").find("m.toml:2: vault.zone") == 0);
  CHECK(message("[mount]\nzone = 1\n[local]\nabc = 1").find("m.toml:2: mount.zone") == 0);
}

TEST_CASE("config: what is no TOML names its line") {
  CHECK(message("[mount]\npath = ").find("m.toml:2: ") == 0);
  CHECK(message("[mount]\npath = \"/a\"\npath = \"/b\"").find("m.toml:3: ") == 0);
}

TEST_CASE("config: wrong types and values") {
  const std::map<std::string, std::string> cases{
      {"[mount]\npath = 5", "m.toml:2: mount.path: must be text in quotes"},
      {"[mount]\nallow_other = \"yes\"", "m.toml:2: mount.allow_other: must be true or false"},
      {"[local]\nreserve = \"8X\"", "m.toml:2: local.reserve: \"8X\" is not a size"},
      {"[local]\nreserve = -1", "m.toml:2: local.reserve: must not be negative"},
      {"[local]\nevict_below_free = \"101%\"", "m.toml:2: local.evict_below_free: \"101%\" is not between"},
      {"[share]\ntimeout = 5", "m.toml:2: share.timeout: must be a time with its unit"},
      {"[incoming]\nignore = [1]", "m.toml:2: incoming.ignore: must be a list of texts"},
      {"[jobs]\nupload = \"20\"", "m.toml:2: jobs.upload: must be a whole number"},
      {"[jobs]\nupload = 1.5", "m.toml:2: jobs.upload: must be a whole number"},
      {"mount = 1", "m.toml:1: mount: must be a section, [mount]"},
      {"[hook]\non = \"filed\"", "m.toml:1: hook: must be written as [[hook]]"},
      {kPaths + "[jobs]\nupload = 0", "m.toml:6: jobs.upload: must be between 1 and 256"},
      {"[vault]\ntrash = 30", "m.toml:2: vault.trash: must be a time with its unit"},
      {kPaths + "[vault]\ntrash = \"40000d\"", "m.toml:6: vault.trash: must be at most"},
      {kPaths + "[checksum]\nsidecar = \"sha2\"", "m.toml:6: checksum.sidecar: \"sha2\" is none of sha1"},
      {kPaths + "[[hook]]\non = \"fled\"\nrun = [\"x\"]", "m.toml:6: hook[0].on: \"fled\" is none of"},
      {kPaths + "[[hook]]\non = \"filed\"", "m.toml:5: hook[0].run: names no command"},
      {kPaths + "[organize]\nmovies = \"a{b\"", "m.toml:6: organize.movies: has a { or }"},
      {kPaths + "[incoming]\npath = \"../x\"", "m.toml:6: incoming.path: has a component"},
  };
  for (const auto& [toml, expected] : cases) {
    const std::string said = message(toml);
    CAPTURE(said);
    CHECK(said.find(expected) == 0);
  }
}

TEST_CASE("config: paths are needed, absolute and apart") {
  CHECK(message("").find("m.toml: mount.path: is missing") == 0);
  CHECK(message("[mount]\npath = \"/m\"").find("m.toml: local.path: is missing") == 0);
  CHECK(message("[mount]\npath = \"m\"\n[local]\npath = \"/l\"")
            .find("m.toml:2: mount.path: \"m\" is a relative") == 0);
  CHECK(message("[mount]\npath = \"/a/b\"\n[local]\npath = \"/a\"")
            .find("m.toml:2: mount.path: must lie apart") == 0);
  CHECK(message("[mount]\npath = \"/a\"\n[local]\npath = \"/ab\"") == "");
  CHECK(message("[mount]\npath = \"/a/../b\"\n[local]\npath = \"/l\"").find("component ..") !=
        std::string::npos);
  CHECK(message(kPaths + "state = \"/data/.Local/state\"").find("m.toml:5: local.state: ") == 0);
  CHECK(message(kPaths + "[share]\npath = \"/data/.Local/x\"").find("m.toml:6: share.path: must lie apart") ==
        0);
}

TEST_CASE("config: eviction's marks must make sense together") {
  const std::string local = kPaths + "evict_below_free = \"60%\"\n";
  CHECK(message(local).find("m.toml: local.evict_until_free: must not be less") == 0);
  CHECK(message(local + "evict_until_free = \"60%\"") == "");
  CHECK(message(kPaths + "evict_below_free = \"1G\"\nevict_until_free = \"2G\"").find("local.reserve") !=
        std::string::npos);
  CHECK(message(kPaths + "reserve = \"1M\"\nevict_below_free = \"1G\"\nevict_until_free = \"2G\"") == "");
}

TEST_CASE("config: vault URLs") {
  const auto vault = [](const std::string& url) {
    return message(kPaths + "[vault]\nurl = \"" + url + "\"");
  };
  CHECK(vault("file:///mnt/vault") == "");
  CHECK(vault("s3://bucket") == "");
  CHECK(vault("webdav://host/x") == "");
  CHECK(vault("webdavs://me@host:8443/remote.php/dav/files/me/Media") == "");
  CHECK(vault("webdavs:///x").find("names no host") != std::string::npos);
  CHECK(vault("webdavs://host/x?y").find("without a query") != std::string::npos);
  const std::string password = vault("webdavs://me:geheim@host/x");
  CHECK(password.find("must not hold a password") != std::string::npos);
  CHECK(password.find("geheim") == std::string::npos);
  CHECK(vault("ftp://host").find("m.toml:6: vault.url: \"ftp://host\" names no known kind") == 0);
  CHECK(vault("/mnt/vault").find("names no known kind") != std::string::npos);
  CHECK(vault("file://mnt/vault").find("absolute path") != std::string::npos);
  CHECK(vault("s3:///x").find("names no bucket") != std::string::npos);
  CHECK(vault("file:///data/.Local/vault").find("must lie apart") != std::string::npos);
  CHECK(vault("file:///data/Media/vault").find("below mount.path") != std::string::npos);
  const std::string secret = vault("s3://me:geheim@host/x");
  CHECK(secret.find("vault.credentials") != std::string::npos);
  CHECK(secret.find("geheim") == std::string::npos);
}

TEST_CASE("config: the environment goes over the file") {
  const Config c = parsed(kPaths + "evict_below_free = \"10%\"", {{"MEDIAFS_LOCAL_EVICT_BELOW_FREE", "20%"},
                                                                  {"MEDIAFS_MOUNT_ALLOW_OTHER", "false"},
                                                                  {"MEDIAFS_JOBS_UPLOAD", "7"},
                                                                  {"MEDIAFS_INCOMING_IGNORE", "*.a, *.b"},
                                                                  {"MEDIAFS_CONFIG", "/x"},
                                                                  {"MEDIAFS_VAULT_SECRET_KEY", "s"},
                                                                  {"PATH", "/bin"}});
  CHECK(c.local.evict_below_free.percent == 20);
  CHECK(!c.mount.allow_other);
  CHECK(c.jobs.upload == 7);
  CHECK(c.incoming.ignore == std::vector<std::string>{"*.a", "*.b"});
  CHECK(message(kPaths, {{"MEDIAFS_LOCAL_RESERV", "1G"}}) ==
        "environment: MEDIAFS_LOCAL_RESERV: unknown key (did you mean \"MEDIAFS_LOCAL_RESERVE\"?)");
  CHECK(message(kPaths, {{"MEDIAFS_JOBS_UPLOAD", "many"}}) ==
        "environment: MEDIAFS_JOBS_UPLOAD: must be a whole number");
  CHECK(message(kPaths, {{"MEDIAFS_JOBS_UPLOAD", "0"}})
            .find("environment: MEDIAFS_JOBS_UPLOAD: must be between") == 0);
}

TEST_CASE("config: how the mount looks") {
  const auto mount = [](const std::string& lines) {
    return "[mount]\npath = \"/m\"\n" + lines + "\n[local]\npath = \"/l\"\n";
  };
  const Config c =
      parsed(mount("uid = 1000\ngid = 100\numask = \"027\"\nsubtype = \"\"\nfsname = \"nas\"\n"
                   "read_only = true\noptions = [\"noexec\", \"noatime\"]"));
  CHECK(c.mount.uid == 1000);
  CHECK(c.mount.gid == 100);
  CHECK(umask_of(c.mount) == 027U);
  CHECK(c.mount.subtype.empty());
  CHECK(c.mount.fsname == "nas");
  CHECK(c.mount.read_only);
  CHECK(c.mount.options == std::vector<std::string>{"noexec", "noatime"});
  CHECK(!umask_of(parsed(kPaths).mount));
  CHECK(message(mount("umask = \"888\"")).find("m.toml:3: mount.umask: \"888\" is not an octal") == 0);
  CHECK(message(mount("umask = \"1777\"")).find("mount.umask") != std::string::npos);
  CHECK(message(mount("uid = -7")).find("mount.uid: must be") != std::string::npos);
  CHECK(message(mount("fsname = \"a,b\"")).find("mount.fsname: must hold no comma") != std::string::npos);
  CHECK(message(mount("options = [\"noexc\"]")).find("(did you mean \"noexec\"?)") != std::string::npos);
}

TEST_CASE("config: files are loaded, and refused when everybody can change them") {
  const test::TempDir dir;
  const std::string file = dir / "mediafs.toml";
  CHECK(load_config(file, {}).err().message().find("configuration " + file + ": No such file") == 0);
  test::put(file, kPaths);
  CHECK(load_config(file, {})->file == file);
  CHECK(default_config_file({{"MEDIAFS_CONFIG", file}}) == file);
  REQUIRE(::mkdir((dir / ".config").c_str(), 0700) == 0);
  REQUIRE(::mkdir((dir / ".config/mediafs").c_str(), 0700) == 0);
  test::put(dir / ".config/mediafs/mediafs.toml", kPaths);
  CHECK(default_config_file({{"HOME", dir.path()}}).ends_with("/mediafs/mediafs.toml"));
  REQUIRE(::chmod(file.c_str(), 0666) == 0);
  CHECK(load_config(file, {}).err().message().find("chmod o-w") != std::string::npos);
  CHECK(load_config(dir.path(), {}).err().code == ErrorCode::config);
}

TEST_CASE("config: what show prints reads back as the same configuration") {
  const Config before =
      parsed(kPaths +
             "reserve = \"1500M\"\n[share]\npath = \"/s\"\ntimeout = \"90s\"\n[vault]\nurl = "
             "\"file:///v \\\"q\\\"\"\ncache_size = 8388609\n[[hook]]\non = \"filed\"\nrun = [\"a\"]");
  std::string section;
  std::string toml;
  for (const auto& [key, value] : show_config(before)) {
    if (key.starts_with("hook")) continue;
    const auto dot = key.find('.');
    if (key.substr(0, dot) != section) toml += "[" + (section = key.substr(0, dot)) + "]\n";
    toml += key.substr(dot + 1) + " = " + value + "\n";
  }
  Config after = parsed(toml);
  after.hooks = before.hooks;
  CHECK(show_config(after) == show_config(before));
  CHECK(after.local.reserve_bytes == 1500ULL << 20);
  CHECK(after.vault.cache_bytes == 8388609);
}

TEST_CASE("config: sizes and times") {
  CHECK(parse_size("8G").value() == 8ULL << 30);
  CHECK(parse_size("20GiB").value() == 20ULL << 30);
  CHECK(parse_size("0").value() == 0);
  CHECK(parse_size("512M").value() == 512ULL << 20);
  CHECK(parse_size("1.5 k").value() == 1536);
  CHECK(parse_size("2GB").value() == 2'000'000'000);
  CHECK(parse_size("9007199254740993").value() == 9007199254740993);  // no detour through double
  for (const char* bad : {"", "G", "-1", "1e3", "8 Q", "99999999T", "1.2.3", "0x10", "8G8"}) {
    CAPTURE(bad);
    CHECK(!parse_size(bad));
  }
  CHECK(parse_duration("2s").value() == 2s);
  CHECK(parse_duration("500ms").value() == 500ms);
  CHECK(parse_duration("5m").value() == 5min);
  CHECK(parse_duration("1h").value() == 1h);
  CHECK(parse_duration("1.5s").value() == 1500ms);
  CHECK(parse_duration("0").value() == 0ms);
  for (const char* bad : {"", "5", "s", "-1s", "1y"}) {
    CAPTURE(bad);
    CHECK(!parse_duration(bad));
  }
}

TEST_CASE("config: directories that are missing or no directories are told") {
  const test::TempDir dir;
  test::put(dir / "file", "");
  Config config;
  config.local.path = dir / "none";
  config.mount.path = dir.path();
  CHECK(check_directories(config).err().message().find("local.path: " + dir.path() +
                                                       "/none: no such directory (run: mkdir") == 0);
  config.local.path = dir.path();
  CHECK(check_directories(config).has_value());
  config.mount.path = dir / "file";
  CHECK(check_directories(config).err().message() ==
        "mount.path: " + dir.path() + "/file: is not a directory");
}

TEST_CASE("config: what is not in quotes and should be is told so") {
  for (const char* value : {"/data/Media", "~/Media", "C:/x", "5s", "8G", "tank/x"}) {
    CAPTURE(value);
    const std::string text = message(kPaths + "reserve = " + value + "\n[share]\n");
    CHECK(text.find("m.toml:5") != std::string::npos);
    CHECK(text.find("in quotes") != std::string::npos);
  }
  for (const char* line : {"reserve = \"8G", "reserve", "reserve =", "[local"}) {
    CAPTURE(line);
    const std::string text = message(kPaths + line + "\n");
    CHECK_FALSE(text.empty());
    CHECK(text.find("in quotes") == std::string::npos);
  }
}
