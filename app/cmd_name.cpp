// mediafs name: what release names mean. Reads stdin, a name a line.
#include <CLI/CLI.hpp>
#include <iostream>
#include <string>

#include "app/cli.h"
#include "pipeline/naming/jsonl.h"
#include "pipeline/naming/parse.h"

namespace mediafs::app {

namespace {

std::string numbers(const std::vector<int>& values, const char* letter) {
  std::string out;
  for (const int v : values) out += letter + std::to_string(v);
  return out;
}

std::string in_words(const naming::Parsed& p) {
  std::string out(naming::to_string(p.kind));
  if (p.kind == naming::Kind::unknown) return out;
  out += "\t" + p.title;
  if (p.year) out += " (" + std::to_string(*p.year) + ")";
  if (p.season) out += " S" + std::to_string(*p.season);
  out += numbers(p.episodes, "E");
  if (p.date) out += " " + *p.date;
  if (!p.episode_title.empty()) out += " - " + p.episode_title;
  return out;
}

int run(const Context& context, bool jsonl) {
  std::ios::sync_with_stdio(false);
  std::string line;
  while (std::getline(std::cin, line)) {
    if (jsonl) {
      std::cout << naming::answer_line(line) << "\n";
    } else if (context.json) {
      std::cout << naming::to_json(naming::parse(line), "") << "\n";
    } else {
      std::cout << in_words(naming::parse(line)) << "\n";
    }
  }
  return std::cout.flush() ? kDone : kFailed;
}

}  // namespace

void add_name(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("name", "parse release names from stdin, a line each");
  add_common(*command, context);
  auto jsonl = std::make_shared<bool>(false);
  command->add_flag("--jsonl", *jsonl, R"(a line in is {"id","path"}, a line out is one object)");
  command->callback([jsonl, &context] { context.run = [jsonl, &context] { return run(context, *jsonl); }; });
}

}  // namespace mediafs::app
