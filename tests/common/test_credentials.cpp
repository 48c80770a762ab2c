#include <doctest/doctest.h>
#include <sys/stat.h>

#include <string>

#include "common/config.h"
#include "temp_dir.h"

using namespace mediafs;

namespace {

struct File {
  test::TempDir dir;
  Config config;
  explicit File(const std::string& text, mode_t mode = 0600) {
    config.vault.credentials = dir / "vault.credentials";
    test::put(config.vault.credentials, text);
    ::chmod(config.vault.credentials.c_str(), mode);
  }
};

}  // namespace

TEST_CASE("credentials: lines, quotes and comments") {
  const File file(
      "# the vault's\n\naccess_key = AKIA\r\n  secret_key=\"a b=c#d\\\"\nuser = 'me'\npassword = x # y\n"
      "session_token = t");
  const auto found = load_credentials(file.config, {{"MEDIAFS_VAULT_ACCESS_KEY", "not this"}});
  REQUIRE(found);
  CHECK(found->access_key == "AKIA");
  CHECK(found->secret_key == "a b=c#d\\");
  CHECK(found->user == "me");
  CHECK(found->password == "x # y");  // a password may hold a #
  CHECK(found->session_token == "t");
}

TEST_CASE("credentials: a file that others can read is refused") {
  for (const mode_t mode : {0640U, 0604U, 0660U, 0644U}) {
    const File file("access_key = a\nsecret_key = b\n", mode);
    const auto refused = load_credentials(file.config, {});
    REQUIRE(!refused);
    CHECK(refused.err().code == ErrorCode::config);
    CHECK(refused.err().message().find("chmod 600") != std::string::npos);
  }
  for (const mode_t mode : {0600U, 0400U}) {
    CHECK(load_credentials(File("access_key = a\nsecret_key = b\n", mode).config, {}).has_value());
  }
}

TEST_CASE("credentials: mistakes name the line and never the secret") {
  const auto said = [](const std::string& text) {
    const File file(text);
    const auto found = load_credentials(file.config, {});
    REQUIRE(!found);
    CHECK(found.err().message().find("geheim") == std::string::npos);
    return found.err().message();
  };
  CHECK(said("access_key = a\nsecret_kee = geheim")
            .find("vault.credentials:2: unknown key (did you mean "
                  "\"secret_key\"?)") != std::string::npos);
  CHECK(said("geheim").find(":1: is not of the form key = value") != std::string::npos);
  CHECK(said("secret_key = \"geheim").find("closing quote") != std::string::npos);
  CHECK(said("geheim = x").find("unknown key") != std::string::npos);
  CHECK(said("access_key = a").find("no secret_key") != std::string::npos);
}

TEST_CASE("credentials: without a file the environment, ours before AWS's") {
  const Environment aws{
      {"AWS_ACCESS_KEY_ID", "A"}, {"AWS_SECRET_ACCESS_KEY", "S"}, {"AWS_SESSION_TOKEN", "T"}};
  auto found = load_credentials({}, aws);
  REQUIRE(found);
  CHECK(found->access_key == "A");
  CHECK(found->session_token == "T");
  Environment both = aws;
  both["MEDIAFS_VAULT_ACCESS_KEY"] = "mine";
  both["MEDIAFS_VAULT_SECRET_KEY"] = "own";
  found = load_credentials({}, both);
  REQUIRE(found);
  CHECK(found->access_key == "mine");
  CHECK(found->secret_key == "own");
  CHECK(found->session_token.empty());
  CHECK(load_credentials({}, {})->access_key.empty());
}

TEST_CASE("credentials: AWS's profiles, where nothing else is given") {
  const test::TempDir dir;
  Config config;
  config.vault.url = "s3://films";
  const auto write = [](const std::string& path, const std::string& text, mode_t mode) {
    test::put(path, text);
    REQUIRE(::chmod(path.c_str(), mode) == 0);
  };
  REQUIRE(::mkdir((dir / ".aws").c_str(), 0700) == 0);
  write(
      dir / ".aws/credentials",
      "[default]\naws_access_key_id = D\naws_secret_access_key=geheim/+=\n\n; more\n[ films ]\r\n"
      "aws_access_key_id=F\naws_secret_access_key=f\naws_session_token = ft==\n[half]\naws_access_key_id=H\n",
      0600);
  write(dir / ".aws/config",
        "[default]\nregion = eu-west-1\ns3 =\n  aws_access_key_id = nested\n"
        "[profile cold]\naws_access_key_id=C\naws_secret_access_key=c\n",
        0600);
  Environment env{{"HOME", dir.path()}};
  const auto keys = [&] {
    const auto found = load_credentials(config, env);
    REQUIRE_MESSAGE(found, (found ? std::string() : found.err().message()));
    return found->access_key + " " + found->secret_key + " " + found->session_token;
  };
  CHECK(keys() == "D geheim/+= ");
  env["AWS_PROFILE"] = "films";
  CHECK(keys() == "F f ft==");
  env["AWS_PROFILE"] = "cold";
  CHECK(keys() == "C c ");
  env["AWS_ACCESS_KEY_ID"] = "E";
  env["AWS_SECRET_ACCESS_KEY"] = "e";
  CHECK(keys() == "E e ");
  env.erase("AWS_ACCESS_KEY_ID");
  env.erase("AWS_SECRET_ACCESS_KEY");
  for (const std::string profile : {"nobody", "half"}) {
    env["AWS_PROFILE"] = profile;
    const auto refused = load_credentials(config, env);
    REQUIRE(!refused);
    CHECK(refused.err().code == ErrorCode::config);
    CHECK(refused.err().message().find(profile == "half" ? "no secret_key" : "AWS_PROFILE nobody") !=
          std::string::npos);
  }
  env = {{"AWS_SHARED_CREDENTIALS_FILE", dir / "mine"}};
  CHECK(keys() == "  ");  // no such file
  write(dir / "mine", "[default]\naws_access_key_id=M\naws_secret_access_key=geheim\n", 0644);
  const auto open_to_all = load_credentials(config, env);
  REQUIRE(!open_to_all);
  CHECK(open_to_all.err().message().find("chmod 600") != std::string::npos);
  CHECK(open_to_all.err().message().find("geheim") == std::string::npos);
  config.vault.url = "file:///vault";
  CHECK(keys() == "  ");  // a directory needs none: the file is not even looked at
}

TEST_CASE("credentials: a missing file is told") {
  Config config;
  config.vault.credentials = "/no/such/credentials";
  const auto missing = load_credentials(config, {});
  REQUIRE(!missing);
  CHECK(missing.err().message() == "vault.credentials: /no/such/credentials: No such file or directory");
}
