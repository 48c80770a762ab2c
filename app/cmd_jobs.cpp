// mediafs jobs: the durable queue, for people.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli.h"
#include "app/report.h"

namespace mediafs::app {

namespace {

struct JobsArguments {
  std::string state;
  std::size_t limit = 100;
  std::vector<std::int64_t> ids;
  bool dead = false;
  std::string stage;
};

void print_job(const Json& j, bool whole) {
  printf("%6lld  %-8s %-9s %s\n", static_cast<long long>(j.value("id", std::int64_t{0})),
         j.value("state", "").c_str(), j.value("stage", "").c_str(), j.value("path", "").c_str());
  if (j["error"].is_string())
    printf("        try %d: %s\n", j.value("tries", 0), j["error"].get<std::string>().c_str());
  if (!whole) return;
  for (const char* key : {"created", "changed", "not_before"}) {
    if (j[key].is_string()) printf("        %s %s\n", key, j[key].get<std::string>().c_str());
  }
}

void print_list(const Json& j) {
  for (const auto& [stage, c] : j["stages"].items()) {
    printf("%-9s %lld queued (%lld of them later), %lld running, %lld dead%s\n", stage.c_str(),
           static_cast<long long>(c.value("queued", std::int64_t{0})),
           static_cast<long long>(c.value("waiting", std::int64_t{0})),
           static_cast<long long>(c.value("running", std::int64_t{0})),
           static_cast<long long>(c.value("dead", std::int64_t{0})),
           c.value("paused", false) ? ", PAUSED" : "");
  }
  for (const auto& job : j["jobs"]) print_job(job, false);
}

// What only reads works without a daemon too.
Result<Json> list_offline(const Context& context, const JobsArguments& args) {
  MEDIAFS_ASSIGN(auto catalogue, read_catalogue(context, {}));
  tier::Branches branches;
  branches.catalogue = catalogue.get();
  return jobs_report({.branches = branches}, job_state_from(args.state), args.limit);
}

int list(const Context& context, const JobsArguments& args) {
  if (!args.state.empty() && !job_state_from(args.state)) {
    return fail(context, make_error(ErrorCode::invalid, "--state " + args.state,
                                    "one of queued, running, dead, done"));
  }
  auto daemon = daemon_for(context, {});
  auto j = daemon ? call(context, *daemon, "jobs_list", {{"state", args.state}, {"limit", args.limit}})
                  : list_offline(context, args);
  if (!j) return fail(context, j.err());
  context.json ? print_json(*j) : print_list(*j);
  return kDone;
}

int simple(const Context& context, const char* command, const Json& request, const char* words,
           const char* key) {
  auto daemon = daemon_for(context, {});
  if (!daemon) return fail(context, daemon.err());
  auto j = call(context, *daemon, command, request);
  if (!j) return fail(context, j.err());
  if (context.json) {
    print_json(*j);
  } else if (key != nullptr) {
    std::cout << (*j)[key].dump() << " " << words << "\n";
  } else if (*words != '\0') {
    std::cout << words << "\n";
  }
  return kDone;
}

int show(const Context& context, const JobsArguments& args) {
  auto daemon = daemon_for(context, {});
  if (!daemon) return fail(context, daemon.err());
  for (const auto id : args.ids) {
    auto j = call(context, *daemon, "jobs_show", {{"id", id}});
    if (!j) return fail(context, j.err());
    context.json ? print_json(*j) : print_job(*j, true);
  }
  return kDone;
}

}  // namespace

void add_jobs(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("jobs", "the queue: what waits, runs, failed");
  add_common(*command, context);
  auto args = std::make_shared<JobsArguments>();
  const auto filter = [&](CLI::App* to) {
    to->add_option("--state", args->state, "queued, running, dead or done");
    to->add_option("--limit", args->limit, "at most this many");
  };
  filter(command);
  command->callback([args, &context, command] {
    if (command->get_subcommands().empty()) context.run = [args, &context] { return list(context, *args); };
  });
  const auto add = [&](const char* name, const char* help, auto fn) {
    auto* sub = command->add_subcommand(name, help);
    add_common(*sub, context);
    sub->callback(
        [args, &context, fn] { context.run = [args, &context, fn] { return fn(context, *args); }; });
    return sub;
  };
  filter(add("list", "what waits, runs, failed", list));
  add("show", "one job, whole", show)->add_option("ID", args->ids)->required();
  auto* retry = add("retry", "run jobs again now", [](const Context& c, const JobsArguments& a) {
    if (a.ids.empty() && !a.dead)
      return fail(
          c, make_error(ErrorCode::invalid, "jobs retry", "which? (name ids, or --dead for all dead ones)"));
    return simple(c, "jobs_retry", {{"ids", a.ids}, {"dead", a.dead}}, "jobs run again", "retried");
  });
  retry->add_option("ID", args->ids);
  retry->add_flag("--dead", args->dead, "all dead ones");
  add("drop", "forget jobs",
      [](const Context& c, const JobsArguments& a) {
        return simple(c, "jobs_drop", {{"ids", a.ids}}, "jobs dropped", "dropped");
      })
      ->add_option("ID", args->ids)
      ->required();
  add("pause", "start no more jobs of a stage, or of all", [](const Context& c, const JobsArguments& a) {
    return simple(c, "jobs_pause", {{"stage", a.stage}}, "paused (mediafs jobs resume goes on)", nullptr);
  })->add_option("STAGE", args->stage);
  add("resume", "go on", [](const Context& c, const JobsArguments& a) {
    return simple(c, "jobs_resume", {{"stage", a.stage}}, "resumed", nullptr);
  })->add_option("STAGE", args->stage);
  add("wait", "wait until nothing waits or runs", [](const Context& c, const JobsArguments&) {
    return simple(c, "jobs_wait", Json::object(), "", nullptr);
  });
}

}  // namespace mediafs::app
