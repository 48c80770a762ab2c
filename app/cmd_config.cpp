// mediafs config check|show.
#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli.h"

namespace mediafs::app {

namespace {

int check(const Context& context) {
  auto config = load_config(context);
  if (!config) return fail(context, config.err());
  auto credentials = load_credentials(*config, process_environment());
  if (!credentials) return fail(context, credentials.err());
  if (context.json) {
    print_json({{"file", config->file}, {"ok", true}});
  } else {
    std::cout << config->file << ": ok\n";
  }
  return kDone;
}

int show(const Context& context) {
  auto config = load_config(context);
  if (!config) return fail(context, config.err());
  Json all = Json::object();
  for (const auto& [key, value] : show_config(*config)) {
    if (context.json) {
      all[key] = value;
    } else {
      std::cout << key << " = " << value << "\n";
    }
  }
  if (context.json) print_json({{"file", config->file}, {"values", all}});
  return kDone;
}

}  // namespace

void add_config(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("config", "check or show the configuration");
  command->require_subcommand(1);
  auto* c = command->add_subcommand("check", "is it right?");
  add_common(*c, context);
  c->callback([&context] { context.run = [&context] { return check(context); }; });
  auto* s = command->add_subcommand("show", "every value in force, secrets masked");
  add_common(*s, context);
  s->callback([&context] { context.run = [&context] { return show(context); }; });
}

}  // namespace mediafs::app
