// mediafs status: one screen.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli.h"
#include "app/progress.h"

namespace mediafs::app {

namespace {

std::string bytes_at(const Json& j, const char* key) {
  return human_bytes(j.value(key, std::uint64_t{0}));
}

void print_branches(const Json& j) {
  const Json& local = j["local"];
  printf("%-8s %s\n", "local", local.value("path", "").c_str());
  printf("         %llu files, %s", static_cast<unsigned long long>(local.value("files", std::uint64_t{0})),
         bytes_at(local, "bytes").c_str());
  if (const Json& s = local["space"]; s.is_object()) {
    printf("; %s free of %s, eviction below %s, reserve %s", bytes_at(s, "free_bytes").c_str(),
           bytes_at(s, "total_bytes").c_str(), bytes_at(s, "evict_below_bytes").c_str(),
           bytes_at(s, "reserve_bytes").c_str());
    if (s.value("waiting_bytes", std::uint64_t{0}) > 0) printf("; writers WAIT for space");
  }
  printf("\n");
  if (const Json& share = j["share"]; share.is_object()) {
    const bool absent = share["state"] == "absent";
    printf("%-8s %s%s\n", "share", share.value("path", "").c_str(),
           absent ? ": absent; what it had stays listed (is it mounted, is its marker there?)" : "");
  }
  if (const Json& vault = j["vault"]; vault.is_object()) {
    printf("%-8s %s: %s", "vault", vault.value("vault", "").c_str(), vault.value("state", "").c_str());
    if (vault["since"].is_string()) printf(" since %s", vault["since"].get<std::string>().c_str());
    printf("\n         %llu files, %s\n",
           static_cast<unsigned long long>(vault.value("files", std::uint64_t{0})),
           bytes_at(vault, "bytes").c_str());
    if (vault["first_listing_objects"].is_number()) {
      printf("         being listed for the first time: %llu objects so far\n",
             static_cast<unsigned long long>(vault.value("first_listing_objects", std::uint64_t{0})));
    }
    if (const Json& trash = vault["trash"]; trash.value("files", 0) > 0) {
      printf("         trash: %d deleted files, %s (mediafs trash list)\n", trash.value("files", 0),
             bytes_at(trash, "bytes").c_str());
    }
    if (vault["error"].is_string()) printf("         %s\n", vault["error"].get<std::string>().c_str());
    if (const Json& limits = vault["limits"]; limits.is_object()) {
      for (const char* way : {"upload", "download"}) {
        const auto rate = limits.value(std::string(way) + "_bytes_per_second", std::uint64_t{0});
        if (rate > 0) printf("         %s limit %s/s\n", way, human_bytes(rate).c_str());
      }
    }
    if (vault["escaped"].value("files", 0) > 0) {
      printf("         %d files have keys that can't be paths; they are shown under other names\n",
             vault["escaped"].value("files", 0));
    }
    if (vault["lost"].value("files", 0) > 0) {
      printf("         LOST: %d files that the vault no longer has, and nobody else\n",
             vault["lost"].value("files", 0));
    }
  } else {
    printf("%-8s none is configured\n", "vault");
  }
  const Json& dirty = j["dirty"];
  printf("%-8s %llu files, %s not in the vault yet\n", "dirty",
         static_cast<unsigned long long>(dirty.value("files", std::uint64_t{0})),
         bytes_at(dirty, "bytes").c_str());
  if (const Json& met = j["too_long"]; met.is_object() && met.value("files", 0) > 0) {
    printf("         NOT SAVED: %d paths are too long for the system, and never uploaded:\n",
           met.value("files", 0));
    for (const auto& path : met["paths"]) {
      const auto text = path.get<std::string>();
      printf("         ...%s\n", text.substr(text.size() - std::min<std::size_t>(text.size(), 100)).c_str());
    }
  }
}

void print_jobs(const Json& j) {
  for (const auto& [stage, c] : j["jobs"].items()) {
    const auto n = [&c = c](const char* key) {
      return static_cast<long long>(c.value(key, std::int64_t{0}));
    };
    if (n("queued") + n("running") + n("dead") == 0 && !c.value("paused", false)) continue;
    printf("%-8s %-9s %lld queued, %lld running%s", "jobs", stage.c_str(), n("queued"), n("running"),
           c.value("paused", false) ? ", PAUSED" : "");
    if (n("dead") > 0) printf(", %lld DEAD (mediafs jobs list --state dead)", n("dead"));
    printf("\n");
  }
  for (const auto& t : j["transfers"]) {
    printf("%-8s %s  %s of %s, %s/s\n", t.value("kind", "").c_str(), t.value("path", "").c_str(),
           bytes_at(t, "done_bytes").c_str(), bytes_at(t, "total_bytes").c_str(),
           bytes_at(t, "bytes_per_second").c_str());
  }
  for (const auto& e : j["last_errors"]) {
    printf("%-8s job %lld %s: %s\n", "error", static_cast<long long>(e.value("id", std::int64_t{0})),
           e.value("stage", "").c_str(), e["error"].is_string() ? e["error"].get<std::string>().c_str() : "");
  }
  if (j["watcher"].is_object() && !j["watcher"].value("advice", "").empty()) {
    printf("%-8s %s\n", "watcher", j["watcher"].value("advice", "").c_str());
  }
}

int run(const Context& context) {
  auto daemon = daemon_for(context, {});
  if (!daemon) return fail(context, daemon.err());
  auto status = call(context, *daemon, "status", Json::object());
  if (!status) return fail(context, status.err());
  if (context.json) {
    print_json(*status);
    return kDone;
  }
  printf("%-8s %s, data version %lld, pid %d\n", "mount", status->value("mountpoint", "").c_str(),
         static_cast<long long>(status->value("data_version", std::int64_t{0})), status->value("pid", 0));
  if (const Json& p = (*status)["passthrough"]; p.is_object()) {
    const bool on = p.value("on", false);
    printf("%-8s passthrough %s%s\n", "", on ? "on" : "off: ",
           on || !p["why_not"].is_string() ? "" : p["why_not"].get<std::string>().c_str());
  }
  if (const Json& c = (*status)["catalogue"]; c.is_object() && c.value("state", "") != "whole") {
    printf("%-8s %s: %s\n         %s\n", "catalogue", c.value("state", "").c_str(),
           c.value("why", "").c_str(), c.value("advice", "").c_str());
  }
  print_branches(*status);
  print_jobs(*status);
  return kDone;
}

}  // namespace

void add_status(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("status", "branches, health, space, jobs, last errors on one screen");
  add_common(*command, context);
  auto watch = std::make_shared<bool>(false);
  command->add_flag("--watch", *watch, "again each second, until Ctrl-C");
  command->callback([watch, &context] {
    context.run = [watch, &context] { return watched(*watch, [&context] { return run(context); }); };
  });
}

}  // namespace mediafs::app
