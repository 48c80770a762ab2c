// mediafs vault test: what the configured vault can do, tried on it, in words. Without the daemon, or beside it.
#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli.h"
#include "app/vault_check.h"
#include "tier/vault/vault.h"

namespace mediafs::app {

namespace {

constexpr std::uint64_t kMiB = 1ULL << 20;

std::string_view word_of(VaultStep::Grade grade) {
  switch (grade) {
    case VaultStep::Grade::ok:
      return "ok";
    case VaultStep::Grade::lacking:
      return "lacking";
    case VaultStep::Grade::failed:
      break;
  }
  return "failed";
}

void print_step(const VaultStep& step) {
  const std::string_view word = word_of(step.grade);
  std::cout << "  " << word << std::string(9 - word.size(), ' ') << step.name
            << std::string(10 - step.name.size(), ' ') << step.detail << std::endl;
}

int test(const Context& context, std::uint64_t size_mib) {
  auto config = load_config(context);
  if (!config) return fail(context, config.err());
  if (config->vault.url.empty())
    return fail(context,
                make_error(ErrorCode::invalid, "vault test", "no vault is configured (set vault.url)"));
  auto credentials = load_credentials(*config, process_environment());
  if (!credentials) return fail(context, credentials.err());
  auto vault = tier::open_vault(*config, *credentials);
  if (!vault) return fail(context, vault.err());
  if (!context.json) std::cout << (*vault)->describe() << std::endl;
  if (auto own = probe_own_vault(*config, **vault); !own) return fail(context, own.err());
  VaultCheck check;
  check.size_bytes = size_mib * kMiB;
  if (!context.json) check.on_step = print_step;
  const auto steps = check_vault(**vault, check);
  Json list = Json::array();
  bool bad = false;
  for (const VaultStep& step : steps) {
    bad = bad || step.grade == VaultStep::Grade::failed;
    list.push_back({{"step", step.name}, {"grade", word_of(step.grade)}, {"detail", step.detail}});
  }
  if (context.json) print_json({{"vault", (*vault)->describe()}, {"ok", !bad}, {"steps", list}});
  return bad ? kFailed : kDone;
}

}  // namespace

void add_vault(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("vault", "the cloud vault");
  command->require_subcommand(1);
  auto* trial = command->add_subcommand(
      "test",
      "whether the vault lets us in, what it can do and how fast it is, tried with an object of its own");
  add_common(*trial, context);
  auto size_mib = std::make_shared<std::uint64_t>(16);
  trial->add_option("--size", *size_mib, "MiB that are sent and read back")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  trial->callback(
      [size_mib, &context] { context.run = [size_mib, &context] { return test(context, *size_mib); }; });
}

}  // namespace mediafs::app
