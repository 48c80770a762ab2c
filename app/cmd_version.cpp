// mediafs version and changelog: from the catalogue, with a daemon or without.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/cli.h"
#include "app/report.h"

namespace mediafs::app {

namespace {

struct ChangelogArguments {
  std::int64_t since = 0;
  bool follow = false;
};

constexpr std::size_t kPage = 1000;
constexpr std::chrono::milliseconds kFollow{500};

int version(const Context& context) {
  auto catalogue = read_catalogue(context, {});
  if (!catalogue) return fail(context, catalogue.err());
  const std::int64_t n = (*catalogue)->version();
  if (context.json) {
    print_json({{"version", n}});
  } else {
    std::cout << n << "\n";
  }
  return kDone;
}

void print_change(const Json& c, bool json_lines) {
  if (json_lines) {
    std::cout << c.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    std::cout << c.value("version", std::int64_t{0}) << "\t" << c.value("kind", "") << "\t"
              << c.value("path", "");
    if (c.contains("from")) std::cout << "\tfrom " << c.value("from", "");
    std::cout << "\n";
  }
}

int changelog(const Context& context, const ChangelogArguments& args) {
  auto catalogue = read_catalogue(context, {});
  if (!catalogue) return fail(context, catalogue.err());
  std::int64_t since = args.since;
  Json all = Json::array();
  for (;;) {
    auto page = (*catalogue)->changes(since, kPage, false);
    if (!page) return fail(context, page.err());
    for (const auto& change : *page) {
      since = change.version;
      if (context.json && !args.follow) {
        all.push_back(change_json(change));
      } else {
        print_change(change_json(change), context.json);
      }
    }
    if (page->size() == kPage) continue;
    if (!args.follow) break;
    std::cout.flush();
    if (!std::cout) return kDone;  // whoever read it is gone
    std::this_thread::sleep_for(kFollow);
  }
  if (context.json) print_json({{"version", (*catalogue)->version()}, {"changes", all}});
  return kDone;
}

}  // namespace

void add_version(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("version", "the data version (mediafs --version is the program's)");
  add_common(*command, context);
  command->callback([&context] { context.run = [&context] { return version(context); }; });
}

void add_changelog(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("changelog", "what changed in the library, oldest first");
  add_common(*command, context);
  auto args = std::make_shared<ChangelogArguments>();
  command->add_option("--since", args->since, "only what came after this data version");
  command->add_flag("--follow", args->follow, "go on as changes come; with --json an object a line");
  command->callback(
      [args, &context] { context.run = [args, &context] { return changelog(context, *args); }; });
}

}  // namespace mediafs::app
